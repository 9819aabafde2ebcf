"""One configured Run:ai: its address, project and credentials, looked at when they are first needed."""

import threading
from collections.abc import Mapping

from jobform.backends.runai.tokens import ID, SECRET, TOKEN, Application, Fixed, Issue, Nobody, Token, is_set, token_of
from jobform.clients.hosts import Base, base_url
from jobform.clients.keys import Key
from jobform.clients.rest.client import Credentials, Rest, RestError, segment
from jobform.model.errors import BackendError
from jobform.model.values import Json
from jobform.protocols import Clock, Place

OWN = ("app.run.ai", "*.run.ai")
"""The hosts of the vendor's own service."""

_SAAS = "https://app.run.ai"


class Site:
    """What a backend's block and the environment say together. Safe to use from several threads."""

    def __init__(self, settings: Mapping[str, Json], place: Place) -> None:
        self._settings = settings
        self._environ = place.environ
        self.clock: Clock = place.clock
        self.api = self._text("api") or "jobs"
        self._lock = threading.Lock()
        self._rest: Rest | None = None

    @property
    def rest(self) -> Rest:
        """The client of the service. Raises BackendError where address or credentials are missing."""
        with self._lock:
            if self._rest is None:
                variables = ("RUNAI_BASE_URL",)
                base = base_url(self._text("url") or None, variables, None, OWN, self._environ)
                self._rest = Rest(base, self._credentials(base), self.clock, self._environ, explain=explain)
            return self._rest

    @property
    def project(self) -> str:
        """The project's name. Raises BackendError when none is given."""
        name = self._text("project") or self._environ.get("RUNAI_PROJECT", "")
        if not name:
            raise BackendError("which Run:ai project is meant is not known", "set `project` of the backend, or RUNAI_PROJECT")
        return name

    @property
    def project_source(self) -> str:
        return "`project` of the backend" if self._text("project") else "RUNAI_PROJECT"

    @property
    def cluster(self) -> str:
        """The cluster's name or id, "" for the project's only one."""
        return self._text("cluster")

    def _credentials(self, base: Base) -> Credentials:
        if self._settings.get("unauthenticated") is True:
            return Nobody()
        if is_set(self._environ, TOKEN):
            return Fixed(self._environ)
        if is_set(self._environ, ID) and is_set(self._environ, SECRET):
            return Application(self._issuer(base), self._environ, self.clock)
        also = "" if self.api == "workloads" else "; a cluster that asks for none needs `unauthenticated: true` of the backend"
        raise BackendError("there are no credentials for Run:ai", f"set {TOKEN}, or {ID} and {SECRET}{also}")

    def _issuer(self, base: Base) -> Issue:
        """Raises BackendError where it is not known who gives tokens."""
        setting = self._text("auth_url") or None
        fallback = base if self.api == "workloads" else Base(_SAAS, "the vendor's own address") if _is_own(base.host) else None
        if setting is None and not self._environ.get("RUNAI_AUTH_URL"):
            if fallback is None:
                raise BackendError(
                    f"who gives tokens for {ID} is not known",
                    "set `auth_url` of the backend, or RUNAI_AUTH_URL, to the address of the Run:ai user interface",
                )
            auth = fallback
        else:
            auth = base_url(setting, ("RUNAI_AUTH_URL",), None, OWN, self._environ, "auth_url")
        rest = Rest(auth, _Sent(), self.clock, self._environ, explain=explain)
        return self._by_control_plane(rest) if self.api == "workloads" else self._by_realm(rest)

    def _by_realm(self, rest: Rest) -> Issue:
        realm = self._text("realm") or self._environ.get("RUNAI_REALM", "")
        if not realm:
            raise BackendError(f"in which realm {ID} is known is not said", "set `realm` of the backend, or RUNAI_REALM")
        path = f"/auth/realms/{segment(realm)}/protocol/openid-connect/token"
        wanted = self._text("token_field") or "access_token"

        def issue(client: Key, secret: Key) -> Token:
            return token_of(rest.form(path, {
                "grant_type": "client_credentials", "scope": "openid", "response_type": "id_token", "client_id": client.value,
                "client_secret": secret.value,
            }), wanted, "expires_in")

        return issue

    def _by_control_plane(self, rest: Rest) -> Issue:
        wanted = "idToken" if self._text("token_field") == "id_token" else "accessToken"

        def issue(client: Key, secret: Key) -> Token:
            return token_of(rest.change("POST", "/api/v1/token", {
                "grantType": "client_credentials", "clientID": client.value, "clientSecret": secret.value,
            }), wanted, "expiresIn")

        return issue

    def _text(self, key: str) -> str:
        value = self._settings.get(key)
        return value if isinstance(value, str) else ""


class _Sent(Nobody):
    """The request for a token carries its credentials in its body."""

    source = f"{ID} and {SECRET}"


def _is_own(host: str) -> bool:
    return host == "run.ai" or host.endswith(".run.ai")


def explain(body: Json) -> tuple[str, str]:
    """Code and message of an error: `{status, message, details}` of the job API, bare or under `error`; `{code, message}` of the
    workloads API; `{error, error_description}` of OAuth.
    """
    if not isinstance(body, dict):
        return "", body if isinstance(body, str) else ""
    inner = body.get("error", body)
    if isinstance(inner, str):
        return inner, str(body.get("error_description") or inner)
    if not isinstance(inner, dict):
        return "", ""
    message, details = inner.get("message"), inner.get("details")
    words = [text for text in (message, details) if isinstance(text, str) and text]
    return str(inner.get("code", inner.get("status", ""))), ": ".join(words)


def is_absence(error: RestError) -> bool:
    """Whether a 404 is the service's own word: a wrong address, or a proxy, answers so for everything."""
    return error.status == 404 and isinstance(error.body, dict) and any(explain(error.body))
