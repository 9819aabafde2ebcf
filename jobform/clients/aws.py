"""Calls to services of AWS, through boto3: whose credentials, which region and endpoint, and what a failed call means.

A read is tried again while that may help. A call that changes something is sent once: boto3's own repeats are off, since whoever
asked knows whether doing it twice is as good as once. A call that surely had no effect says so.
"""

import logging
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobform.clients.aws_errors import AwsError, Context, check_answer, failure
from jobform.clients.gate import Gate, Pace
from jobform.clients.hosts import base_url, proxy_for
from jobform.model.errors import BackendError
from jobform.model.values import Json
from jobform.model.version import VERSION
from jobform.protocols import Clock

if TYPE_CHECKING:
    import boto3.session
    import botocore.session

_LOG = logging.getLogger("jobform.http")

_TRIES = 4
"""Attempts of a read; throttling is obeyed until the read's time is over."""

_TOTAL, _CONNECT, _READ = 60.0, 5.0, 30.0
"""Seconds: of a read with its repeats, of a connection, between two pieces of an answer."""


@dataclass(frozen=True, slots=True)
class Named:
    """A value and the setting or variable that it comes from."""

    value: str
    source: str


@dataclass(frozen=True, slots=True)
class AwsSettings:
    """What a backend's block says; None is for the environment and the profile to say.

    endpoint: of the service named `service`, and of no other; own_hosts: where it may lead, with `{region}` for the region.
    """

    region: str | None = None
    profile: str | None = None
    service: str = ""
    endpoint: str | None = None
    own_hosts: tuple[str, ...] = ()
    endpoint_variables: tuple[str, ...] = ()


class Aws:
    """Clients for one account and region. Safe to use from several threads. Calls raise AwsError, the rest BackendError.

    An answer is the members of the operation's output as JSON, with times as RFC 3339 texts; streamed bodies are not read.

    Credentials, region and profile come from where boto3 looks for them, in its order, with `environ` for its environment. Two
    providers look at the process's own environment whatever is passed: container credentials and web identity tokens.
    paces: by operation, as boto3 names its methods.
    """

    def __init__(
        self, settings: AwsSettings, clock: Clock, environ: Mapping[str, str], paces: Mapping[str, Pace] | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._environ = environ
        self._paces = paces or {}
        self._gate = Gate(clock)
        self._lock = threading.RLock()
        self._clients: dict[str, Any] = {}

    def often(self, service: str, operation: str, **parameters: object) -> dict[str, Json]:
        """A call that may be made any number of times, such as every read, tried again while that may help."""
        deadline = self._clock.monotonic() + _TOTAL
        tries = 0
        while True:
            try:
                return self._call(service, operation, parameters, deadline, changing=False)
            except AwsError as error:
                tries += 1
                pause = error.retry_after or min(8.0, 0.25 * 2**tries) * random.uniform(0.5, 1.0)  # noqa: S311  # no secret
                enough = tries >= _TRIES and not error.throttled
                if not error.retryable or enough or self._clock.monotonic() + pause >= deadline:
                    raise
                self._clock.sleep(pause)

    def once(self, service: str, operation: str, **parameters: object) -> dict[str, Json]:
        """A call that changes something, sent once: what it left behind when it failed, its caller looks up."""
        return self._call(service, operation, parameters, self._clock.monotonic() + _TOTAL, changing=True)

    @property
    def profile(self) -> Named | None:
        """The profile that somebody chose, None for the default one."""
        if self._settings.profile:
            return Named(self._settings.profile, "`profile` of the backend")
        variable = next((name for name in ("AWS_DEFAULT_PROFILE", "AWS_PROFILE") if self._environ.get(name)), None)
        return Named(self._environ[variable], variable) if variable else None

    @cached_property
    def region(self) -> Named:
        """Raises BackendError when nobody says which."""
        if self._settings.region:
            return Named(self._settings.region, "`region` of the backend")
        for variable in ("AWS_REGION", "AWS_DEFAULT_REGION"):
            if self._environ.get(variable):
                return Named(self._environ[variable], variable)
        with self._lock, self._explained("", "", changing=False):
            found = self._core.get_config_variable("region")
        if isinstance(found, str) and found:
            return Named(found, f"the profile {self.profile.value if self.profile else 'default'}")
        raise BackendError(
            "which AWS region is meant is not known", "set `region` of the backend, AWS_REGION, or `region` in the AWS profile",
        )

    def _call(
        self, service: str, operation: str, parameters: Mapping[str, object], deadline: float, *, changing: bool,
    ) -> dict[str, Json]:
        if left := self._gate.wait(deadline):
            raise AwsError(
                "the service asked to slow down", f"not asked again for {left:.0f} s", throttled=True, retryable=True,
                retry_after=left,
            )
        if pace := self._paces.get(operation):
            pace.wait()
        client = self._client(service)
        began = self._clock.monotonic()
        try:
            with self._explained(service, operation, changing=changing):
                answer = getattr(client, operation)(**parameters)
                value = {key: plain(item) for key, item in answer.items() if key != "ResponseMetadata"}
        except AwsError as error:
            if error.throttled and error.retry_after:
                self._gate.pause(error.retry_after)
            raise
        _LOG.debug("%s %s: in %.3f s", service, operation, self._clock.monotonic() - began)
        return value

    def _client(self, service: str) -> Any:  # boto3 makes its clients' classes when it runs
        with self._lock:
            if service not in self._clients:
                endpoint, region = self._endpoint(service), self.region.value
                proxy = proxy_for(endpoint.value if endpoint else f"https://{service}.{region}.amazonaws.com", self._environ)
                with self._explained(service, "", changing=False):
                    client: Any = self._session.client(
                        service, region_name=region, endpoint_url=endpoint.value if endpoint else None,  # type: ignore[call-overload]  # one for each service
                        config=self._config(proxy.url if proxy else None),
                    )
                client.meta.events.register("before-parse", check_answer)
                self._clients[service] = client
            return self._clients[service]

    def _endpoint(self, service: str) -> Named | None:
        """The address that the environment or the backend's block gives a service; None is boto3's own to find."""
        if self._environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
            variables: tuple[str, ...] = ()
        else:
            more = self._settings.endpoint_variables if service == self._settings.service else ()
            variables = (f"AWS_ENDPOINT_URL_{service.upper()}", *more, "AWS_ENDPOINT_URL")
        setting = self._settings.endpoint if service == self._settings.service else None
        if setting is None and not any(self._environ.get(name) for name in variables):
            return None
        own = [host.format(region=self.region.value) for host in self._settings.own_hosts] if setting else []
        base = base_url(setting, variables, None, own, self._environ, "endpoint_url")
        return Named(base.url, base.source)

    def _config(self, proxy: str | None) -> Any:  # of boto3
        from botocore.config import Config

        return Config(
            retries={"total_max_attempts": 1, "mode": "standard"}, connect_timeout=_CONNECT, read_timeout=_READ,
            max_pool_connections=32, user_agent_extra=f"jobform/{VERSION}",
            proxies={"http": proxy, "https": proxy} if proxy else {},  # not None, for which boto3 asks the process's variables
        )

    @cached_property
    def _session(self) -> "boto3.session.Session":
        import boto3.session

        return boto3.session.Session(botocore_session=self._core)

    @cached_property
    def _core(self) -> "botocore.session.Session":
        """boto3's lower half, with our environment where it would take the process's."""
        import botocore.session
        from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, ConfigChainFactory
        from botocore.credentials import EnvProvider

        core = botocore.session.Session(profile=self._settings.profile)
        chains, store = ConfigChainFactory(session=core, environ=dict(self._environ)), core.get_component("config_store")
        for name, (in_file, variables, default, convert) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items():
            store.set_config_provider(name, chains.create_config_chain(
                instance_name=name, env_var_names=variables, config_property_names=in_file, default=default,
                conversion_func=convert,
            ))
        home = Path(self._environ.get("HOME") or "~")
        for variable, name, file in (
            ("AWS_CONFIG_FILE", "config_file", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials_file", "credentials"),
        ):
            if not self._environ.get(variable):
                core.set_config_variable(name, str(home / ".aws" / file))
        for provider in core.get_component("credential_provider").providers:
            if isinstance(provider, EnvProvider):
                provider.environ = dict(self._environ)
        return core

    def _explained(self, service: str, operation: str, *, changing: bool) -> "_Explained":
        return _Explained(lambda error: failure(error, self._context(service, operation, changing=changing)))

    def _context(self, service: str, operation: str, *, changing: bool) -> Context:
        region = self.__dict__.get("region")  # asking for it may be what has failed
        endpoint = self._endpoint(service) if service else None
        return Context(
            service, operation, changing, region.value if region else "", region.source if region else "",
            endpoint.source if endpoint else "", self.credentials, self.profile.value if self.profile else "",
            self.profile.source if self.profile else "", self._clock.now(),
        )

    @property
    def credentials(self) -> str:
        """Where the credentials in use come from, for people; before the first call only what was chosen."""
        core = self.__dict__.get("_core")
        known = getattr(core, "_credentials", None)  # get_credentials() would look for them
        method = str(getattr(known, "method", "") or "")
        if method == "env":
            return "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        profile = f"the profile {self.profile.value!r} ({self.profile.source})" if self.profile else "the default AWS profile"
        return f"{profile}, {method}" if method else profile


class _Explained:
    """A context in which every exception of boto3 becomes an AwsError."""

    def __init__(self, explain: Callable[[Exception], AwsError]) -> None:
        self._explain = explain

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, BackendError):
            raise self._explain(error) from error


def plain(value: object) -> Json:
    """What boto3 makes of an answer, as JSON: times become RFC 3339 texts in UTC. Raises TypeError for anything else."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} is no JSON")
