"""Calls to services of AWS, through boto3: whose credentials, which region and endpoint, and what a failed call means.

A read is tried again while that may help. A call that changes something is sent once: boto3's own repeats are off, since whoever
asked knows whether doing it twice is as good as once. A call that surely had no effect says so.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jobform.clients.aws_errors import EXPIRED, AwsError, Context, check_answer, failure, no_credentials
from jobform.clients.aws_session import open_session
from jobform.clients.gate import Gate, Pace
from jobform.clients.hosts import base_url
from jobform.model.clock import SPREAD
from jobform.model.errors import BackendError
from jobform.model.values import Json
from jobform.model.version import VERSION
from jobform.protocols import Clock

if TYPE_CHECKING:
    from botocore.session import Session

    from jobform.clients.aws_wire import Sender

_LOG = logging.getLogger("jobform.http")

_TRIES = 4
"""Attempts of a read; throttling is obeyed until the read's time is over."""

_TOTAL = 60.0
"""Seconds of a call with its repeats, and more for a body that it sends: as long as that takes at `_SLOWEST`."""

_SLOWEST = 64 << 10
"""Bytes a second at which a way still counts as open."""


_ALSO: Mapping[str, tuple[str, ...]] = {"logs": ("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS",)}
"""What AWS calls the variable of a service's address, where that is not boto3's name of the service."""

_BARREN = 1000
"""Pages without anything, one after the other, that a list may have: a log with long pauses has some."""


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

    Credentials, region and profile come from where boto3 looks for them, in its order, with `environ` for its environment.
    paces: by operation, as boto3 names its methods. attended: a person is there, to be asked for the code of a second factor.
    """

    def __init__(
        self, settings: AwsSettings, clock: Clock, environ: Mapping[str, str], paces: Mapping[str, Pace] | None = None, *,
        attended: bool = False,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._environ = environ
        self._paces = paces or {}
        self._gate = Gate(clock)
        self._lock = threading.RLock()
        self._attended = attended
        self._opened: _Opened | None = None
        self._region: Named | None = None

    def often(self, service: str, operation: str, **parameters: object) -> dict[str, Json]:
        """A call that may be made any number of times, such as every read, tried again while that may help."""
        deadline = self._clock.monotonic() + _time_for(parameters)
        tries = 0
        while True:
            try:
                deadline = self._turn(operation, deadline)
                return self._call(service, operation, parameters, deadline, changing=False)
            except AwsError as error:
                tries += 1
                pause = error.retry_after or min(8.0, 0.25 * 2**tries) * SPREAD.uniform(0.5, 1.0)
                enough = tries >= _TRIES and not error.throttled
                if not error.retryable or enough or self._clock.monotonic() + pause >= deadline:
                    raise
                self._clock.sleep(pause)

    def once(self, service: str, operation: str, **parameters: object) -> dict[str, Json]:
        """A call that changes something, sent once: what it left behind when it failed, its caller looks up."""
        deadline = self._turn(operation, self._clock.monotonic() + _time_for(parameters))
        return self._call(service, operation, parameters, deadline, changing=True)

    @property
    def profile(self) -> Named | None:
        """The profile that somebody chose, None for the default one."""
        if self._settings.profile:
            return Named(self._settings.profile, "`profile` of the backend")
        variable = next((name for name in ("AWS_DEFAULT_PROFILE", "AWS_PROFILE") if self._environ.get(name)), None)
        return Named(self._environ[variable], variable) if variable else None

    @property
    def region(self) -> Named:
        """Raises BackendError when nobody says which."""
        if self._region is None:  # no cached_property: in Python 3.11 that has a lock of its own, taken before ours or after it
            with self._lock:
                self._region = self._chosen_region() or self._configured_region()
        return self._region

    def _configured_region(self) -> Named:
        with self._explained("", "", changing=False):
            found = self._session().core.get_config_variable("region")
        if isinstance(found, str) and found:
            return Named(found, f"the profile {self.profile.value if self.profile else 'default'}")
        raise BackendError(
            "which AWS region is meant is not known", "set `region` of the backend, AWS_REGION, or `region` in the AWS profile",
        )

    def _chosen_region(self) -> Named | None:
        if self._settings.region:
            return Named(self._settings.region, "`region` of the backend")
        variable = next((name for name in ("AWS_REGION", "AWS_DEFAULT_REGION") if self._environ.get(name)), None)
        return Named(self._environ[variable], variable) if variable else None

    def _turn(self, operation: str, deadline: float) -> float:
        """Wait until the service may be asked. The deadline, later by what the operation's rate took: no call's own time."""
        if left := self._gate.wait(deadline):
            raise AwsError(
                "the service asked to slow down", f"not asked again for {left:.0f} s", throttled=True, retryable=True,
                retry_after=left,
            )
        began = self._clock.monotonic()
        if pace := self._paces.get(operation):
            pace.wait()
        return deadline + self._clock.monotonic() - began

    def _call(
        self, service: str, operation: str, parameters: Mapping[str, object], deadline: float, *, changing: bool,
    ) -> dict[str, Json]:
        began = self._clock.monotonic()
        try:
            opened = self._session()
            try:
                value = self._attempt(opened, service, operation, parameters, deadline, changing=changing)
            except AwsError as error:
                if error.code not in EXPIRED or not self._renew(opened):
                    raise
                value = self._attempt(self._session(), service, operation, parameters, deadline, changing=changing)
        except AwsError as error:
            if error.throttled and error.retry_after:
                self._gate.pause(error.retry_after)
            raise
        _LOG.debug("%s %s: in %.3f s", service, operation, self._clock.monotonic() - began)
        return value

    def _attempt(
        self, opened: "_Opened", service: str, operation: str, parameters: Mapping[str, object], deadline: float, *,
        changing: bool,
    ) -> dict[str, Json]:
        with opened.sender.within(deadline - self._clock.monotonic(), changing=changing):
            with self._finding():
                self._identify(opened.core)
            client = self._client(opened, service)
            with self._explained(service, operation, changing=changing):
                answer = getattr(client, operation)(**parameters)
                return {key: plain(item) for key, item in answer.items() if key != "ResponseMetadata"}

    def _session(self) -> "_Opened":
        with self._lock, self._finding():
            if self._opened is None:
                self._opened = self._fresh()
            return self._opened

    def _fresh(self) -> "_Opened":
        region = self._chosen_region()
        return _Opened(*open_session(
            self._settings.profile, region.value if region else None, self._environ, attended=self._attended,
        ))

    def _identify(self, core: "Session") -> tuple[str, str]:
        """Have credentials, renewed where their time is nearly over, before anything is sent with them: key and token."""
        from botocore.exceptions import NoCredentialsError

        with self._lock:
            found = core.get_credentials()
        if found is None:
            raise NoCredentialsError
        frozen = found.get_frozen_credentials()
        return str(frozen.access_key), str(frozen.token or "")

    def _renew(self, expired: "_Opened") -> bool:
        """Credentials have expired: whether there are others now where they came from, as in a file that was written anew."""
        with self._lock, self._finding():
            if self._opened is not expired:
                return True
            fresh = self._fresh()
            with fresh.sender.within(_TOTAL, changing=False):
                if self._identify(fresh.core) == self._identify(expired.core):
                    return False
            self._opened = fresh
            return True

    def _client(self, opened: "_Opened", service: str) -> Any:  # botocore makes its clients' classes when it runs
        with self._lock:
            if service not in opened.clients:
                endpoint = self._endpoint(service)
                with self._explained(service, "", changing=False):
                    client: Any = opened.core.create_client(
                        service, region_name=self.region.value, endpoint_url=endpoint.value if endpoint else None,
                        config=self._config(),
                    )
                client.meta.events.register("before-parse", check_answer)
                opened.clients[service] = client
            return opened.clients[service]

    def _endpoint(self, service: str) -> Named | None:
        """The address that the environment or the backend's block gives a service; None is boto3's own to find."""
        if self._environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
            variables: tuple[str, ...] = ()
        else:
            more = self._settings.endpoint_variables if service == self._settings.service else ()
            variables = (f"AWS_ENDPOINT_URL_{service.upper()}", *_ALSO.get(service, ()), *more, "AWS_ENDPOINT_URL")
        setting = self._settings.endpoint if service == self._settings.service else None
        if setting is None and not any(self._environ.get(name) for name in variables):
            return None
        own = [host.format(region=self.region.value) for host in self._settings.own_hosts] if setting else []
        base = base_url(setting, variables, None, own, self._environ, "endpoint_url")
        return Named(base.url, base.source)

    def _config(self) -> Any:  # of boto3
        from botocore.config import Config

        return Config(
            retries={"total_max_attempts": 1, "mode": "standard"}, user_agent_extra=f"jobform/{VERSION}",
            proxies={},  # not None, for which boto3 asks the process's variables; the sender has ours
        )

    def _explained(self, service: str, operation: str, *, changing: bool) -> "_Explained":
        return _Explained(lambda error: failure(error, self._context(service, operation, changing=changing)))

    def _finding(self) -> "_Explained":
        return _Explained(lambda error: no_credentials(error, self._context("", "", changing=False)))

    def _context(self, service: str, operation: str, *, changing: bool) -> Context:
        region = self._region  # asking for it may be what has failed
        endpoint = self._endpoint(service) if service else None
        return Context(
            service, operation, changing, region.value if region else "", region.source if region else "",
            endpoint.source if endpoint else "", self.credentials, self.profile.value if self.profile else "",
            self.profile.source if self.profile else "", self._clock.now(),
        )

    @property
    def credentials(self) -> str:
        """Where the credentials in use come from, for people; before the first call only what was chosen."""
        opened = self._opened
        known = getattr(opened.core, "_credentials", None) if opened else None  # get_credentials() would look for them
        method = str(getattr(known, "method", "") or "")
        if method == "env":
            return "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        profile = f"the profile {self.profile.value!r} ({self.profile.source})" if self.profile else "the default AWS profile"
        return f"{profile}, {method}" if method else profile


@dataclass(frozen=True, slots=True)
class _Opened:
    """A session with what it has found, its sender, and its clients by service."""

    core: "Session"
    sender: "Sender"
    clients: dict[str, Any] = field(default_factory=dict)


class _Explained:
    """A context in which every exception of boto3 becomes an AwsError."""

    def __init__(self, explain: Callable[[Exception], AwsError]) -> None:
        self._explain = explain

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, BackendError):
            raise self._explain(error) from error


class Turns:
    """The pages of one list, which must come to an end. what: the list, for people."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._met: set[str] = set()
        self._barren = 0

    def turn(self, token: str, *, empty: bool) -> None:
        """To the page of this token; empty: nothing stood on the one before. Raises BackendError for a list without an end."""
        self._barren = self._barren + 1 if empty else 0
        if token in self._met or self._barren > _BARREN:
            raise BackendError(f"{self._what} has no end", "AWS gives page after page of it with nothing new")
        self._met.add(token)


def _time_for(parameters: Mapping[str, object]) -> float:
    body = parameters.get("Body")
    return _TOTAL + (len(body) / _SLOWEST if isinstance(body, bytes) else 0.0)


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
