"""One command's view of one project: settings, jobs, state and backends, each opened when it is first needed."""

import getpass
import os
import secrets
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock

from jobform.config.read import ReadOptions, blocks_of, read_project, read_settings
from jobform.config.secrets import Masker, environment_variable, known_values, lookup, secret_names
from jobform.engine.manager import Manager
from jobform.engine.places import Places
from jobform.model.diagnostic import Diagnostic, Severity
from jobform.model.errors import BackendError, InputError, JobformError, LockHeldError
from jobform.model.job import BackendBlock, Project, Settings
from jobform.model.state import Attempt
from jobform.model.values import Json, digest
from jobform.protocols import Blanking, LockInfo, LogSource, Place, Ref, Store, timestamp
from jobform.run.overrides import overridden
from jobform.run.runtime import Runtime
from jobform.schema import SpecSchema

KEPT_LOG = 64 * 1024
"""Bytes of log that are kept beside the state of each container of an attempt; of its process, where there are none."""


@dataclass(frozen=True, slots=True)
class Where:
    """Which project, which target, the variables of the command line, and its settings of backends: `context`, `namespace`.

    no_input: nobody may be asked anything, also not for credentials.
    """

    directory: Path
    target: str | None = None
    variables: tuple[tuple[str, str], ...] = ()
    var_files: tuple[Path, ...] = ()
    accept_older_state: bool = False
    allow_empty: bool = False
    overrides: tuple[tuple[str, str], ...] = ()
    no_input: bool = False


class Session:
    """Opens what a command asks for. Every part raises its own JobformError when it is first touched."""

    def __init__(self, runtime: Runtime, where: Where, on_wait: Callable[[LockHeldError], None] = lambda _held: None) -> None:
        """on_wait: hears that a lock is held and waited for. unkept: by the log's name, why its log could not be kept."""
        self.runtime = runtime
        self.where = where
        self.on_wait = on_wait
        self.unkept: dict[str, Diagnostic] = {}
        self._keeping: dict[str, Lock] = {}
        self._schemas: dict[str, SpecSchema] = {}

    @cached_property
    def read_options(self) -> ReadOptions:
        where = self.where
        return ReadOptions(where.target, where.variables, where.var_files, self.runtime.environ, where.allow_empty)

    @cached_property
    def settings(self) -> Settings:
        """jobform.yaml for this target, with what the command line says of its backends; no job file is read."""
        settings = read_settings(self.where.directory, self.read_options)
        return overridden(settings, self.where.overrides, self.runtime.registry)

    @cached_property
    def project(self) -> Project:
        """Everything that the project's files say."""
        return read_project(self.settings, self.read_options, self.runtime.registry)

    @cached_property
    def store(self) -> Store:
        block = self.settings.state
        store_type = self.runtime.registry.store(block.type)
        return store_type.open(block.settings, self.settings.directory, self.runtime.clock, self.runtime.effect)

    @cached_property
    def unopened(self) -> Manager:
        """The state's manager before anything was read: for replacing a state that cannot be read."""
        return Manager(
            self.store, self.runtime.clock, self.runtime.effect, self.settings.directory / ".jobform" / "seen.json",
            recovery=(self.settings.directory, Path.cwd()),
        )

    @cached_property
    def manager(self) -> Manager:
        """The state, opened and checked against its pin and what was seen before."""
        self.unopened.open(self.settings.lineage, accept_older=self.where.accept_older_state)
        return self.unopened

    @property
    def lineage(self) -> str:
        """The state's lineage as approvals name it: "" while nothing is stored, since the next command begins another."""
        return self.manager.state.lineage if self.manager.stored else ""

    def close(self) -> None:
        """The command ends: fold what it recorded into a snapshot."""
        if "unopened" in self.__dict__:
            self.unopened.close()

    @cached_property
    def places(self) -> Places:
        runtime = self.runtime
        attended = runtime.attended and not self.where.no_input
        place = Place(self.settings.directory.resolve(), runtime.clock, runtime.effect, runtime.environ, attended)
        return Places(self.settings.backends, runtime.registry.backend, runtime.registry.settings, self.schema_of, place)

    def schema_of(self, type_name: str) -> SpecSchema:
        """The schema of a backend type's spec in this project."""
        schema = self._schemas.get(type_name)
        if schema is None:
            schema = self._schemas[type_name] = self.runtime.registry.spec(type_name, blocks_of(self.settings, type_name))
        return schema

    def now(self) -> str:
        """The present moment as the state writes it."""
        return timestamp(self.runtime.clock.now())

    def block_digests(self) -> dict[str, str]:
        """By backend name, the digest of its whole block except credentials: approval binds to it."""
        return {name: digest([block.type, self._public(block)]) for name, block in self.settings.backends.items()}

    def _public(self, block: BackendBlock) -> Json:
        schema = self.runtime.registry.settings(block.type)
        return {key: value for key, value in block.settings.items() if not schema.rule((key,)).sensitive}

    @contextmanager
    def locked(self, command: str, timeout: float) -> Iterator[Manager]:
        """The state under its lock, read again if anything moved. Raises LockHeldError after `timeout` seconds."""
        manager = self.manager
        with ExitStack() as stack:
            try:
                stack.enter_context(manager.locked(self.lock_info(command), 0.0))
            except LockHeldError as held:
                if timeout <= 0:
                    raise
                self.on_wait(held)
                stack.enter_context(manager.locked(self.lock_info(command), timeout))
            self._refuse_itself(manager)
            yield manager

    def _refuse_itself(self, manager: Manager) -> None:
        """A job that changed its own project would wait for its own end. Raises LockHeldError."""
        name = self.runtime.environ.get("JOBFORM_NAME")
        if not name:
            return
        for address, record in manager.state.jobs.items():  # by its remote name: the address may have been moved meanwhile
            if record.last and record.last.name == name and not record.last.ended:
                raise LockHeldError.of(
                    "inside_job", f"this command runs inside {address}, a job of this very project that has not ended",
                    detail="it would wait for itself", hint="use another project, or let the job end first",
                )

    def lock_info(self, command: str) -> LockInfo:
        return LockInfo(
            secrets.token_hex(8),
            self.who,
            socket.gethostname(),
            os.getpid(),
            command,
            self.now(),
            _run_url(self.runtime.environ),
        )

    @cached_property
    def who(self) -> str:
        """Who runs this command: the CI system's word, else the user's name."""
        environ = self.runtime.environ
        for name in ("GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILDKITE_BUILD_CREATOR", "USER", "LOGNAME"):
            if environ.get(name):
                return environ[name]
        try:
            return getpass.getuser()
        except (KeyError, OSError):  # no environment and no entry in the user database
            return f"uid {os.getuid()}"

    @cached_property
    def commit(self) -> str:
        """The commit that the project is at, "" outside a checkout."""
        environ = self.runtime.environ
        for name in ("GITHUB_SHA", "CI_COMMIT_SHA", "BUILDKITE_COMMIT"):
            if environ.get(name):
                return environ[name]
        return _head(self.settings.directory, environ)

    def new_run(self) -> str:
        """An id for a command that changes something: sorts by time."""
        return f"{self.runtime.clock.now():%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"

    @cached_property
    def masker(self) -> Masker:
        """Blanks the value of every secret and sensitive variable that this process knows."""
        return Masker(known_values(self.runtime.environ, self.settings.sensitive))

    def keep_log(self, address: str, number: int) -> None:
        """Put the masked end of an attempt's log beside the state, if its backend has one.

        It is fetched once, after the end; of a run that is to be stopped also right before, when more may be there than after it.
        May be called from several threads at once, also for one attempt. A log that cannot be kept, and one that might hold a
        secret whose value is not known here, is a warning in `unkept`: what the run gave is recorded all the same.
        """
        record = self.manager.state.jobs.get(address)
        attempt = next((a for a in record.attempts if a.n == number), None) if record else None
        if attempt is None or attempt.removed or not self.places.configured(attempt.backend):
            return
        backend = self.places.backend(attempt.backend)
        if isinstance(backend, LogSource):
            with self._keeping.setdefault(attempt.token, Lock()):
                self._keep_log(address, attempt, backend)

    def _keep_log(self, address: str, attempt: Attempt, backend: LogSource) -> None:
        name, known = log_name(attempt), False
        try:
            known = self.store.kept(name) is not None
            if known and attempt.ended and not attempt.asked_stop:
                return
            unknown = [] if isinstance(backend, Blanking) and backend.blanks_secrets else self._unknown_secrets(attempt)
            if unknown:
                self._not_kept(address, attempt, f"{', '.join(unknown)} is not set, so its value could not be blanked in it")
            elif data := backend.kept(Ref.of(attempt.ref), KEPT_LOG):
                text = data.decode("utf-8", "surrogateescape")
                self.store.keep(name, self.masker.mask(text).encode("utf-8", "surrogateescape"))
        except BackendError as error:
            if not known:
                self._not_kept(address, attempt, error.summary, error.detail)
        except JobformError as error:
            self._not_kept(address, attempt, str(error))
        except Exception as error:  # noqa: BLE001  # a plug-in's bug must not lose what the run gave: it is told as one
            if not known:
                self._not_kept(address, attempt, f"{type(error).__name__}: {error}", "this is a fault in the backend's plug-in")

    def _not_kept(self, address: str, attempt: Attempt, why: str, detail: str = "") -> None:
        summary = f"the log of attempt {attempt.n} could not be kept: {why}"
        self.unkept[log_name(attempt)] = Diagnostic(Severity.WARNING, "log_not_kept", summary, detail, address=address)

    def _unknown_secrets(self, attempt: Attempt) -> list[str]:
        """The variables of secrets that an attempt was given and that this process does not have."""
        specs, value_of = self.manager.state.specs, lookup(self.runtime.environ)
        names = {name for key in {attempt.spec, attempt.applied} for name in secret_names(specs.get(key, {}))}
        unknown = []
        for name in sorted(names):
            try:
                known = value_of(name)
            except InputError:  # there is a value and it cannot be used
                known = None
            if known is None:
                unknown.append(environment_variable(name))
        return unknown


def log_name(attempt: Attempt) -> str:
    """What the log of an attempt is kept under: with its token, since several attempts may have the name that a user gave."""
    return f"{attempt.name[:100]}.{attempt.token[:12]}.log"


def _run_url(environ: Mapping[str, str]) -> str:
    if environ.get("GITHUB_RUN_ID"):
        server, repository = environ.get("GITHUB_SERVER_URL", ""), environ.get("GITHUB_REPOSITORY", "")
        return f"{server}/{repository}/actions/runs/{environ['GITHUB_RUN_ID']}"
    return environ.get("CI_JOB_URL", environ.get("BUILDKITE_BUILD_URL", ""))


def _head(directory: Path, environ: Mapping[str, str]) -> str:
    resolved = directory.resolve()
    if not any((parent / ".git").exists() for parent in (resolved, *resolved.parents)):
        return ""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=resolved, capture_output=True, text=True, timeout=5, check=False,  # noqa: S607  # the user's git
            env={key: environ[key] for key in ("PATH", "HOME") if key in environ},
        )
    except (OSError, subprocess.TimeoutExpired):  # a record without a commit is better than no apply
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
