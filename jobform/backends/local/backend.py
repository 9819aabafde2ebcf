"""Runs jobs as processes of this machine. Each has a launcher of its own that survives the command, a closed terminal and ^C.

Exactly once: the submitting command locks `lock` in the run's proof directory and the launcher inherits that very open file, so
the lock is never free while a launcher may still start the job. A run exists when the lock is held or a start is recorded; it is
absent when neither is so, and then none can appear any more.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from jobform.backends.local.compose import compose, gpus_wanted
from jobform.backends.local.facts import Facts, signal_process, system_facts
from jobform.backends.local.gpus import Discovery, Lending
from jobform.backends.local.home import Home
from jobform.backends.local.judge import is_alive, judge, run_directory
from jobform.backends.local.logs import end_of, stream
from jobform.backends.local.order import WAKE, Order, Stop
from jobform.backends.local.proof import KEPT, Proof, Value, is_held, read_record, shares, take, write_record, write_whole
from jobform.backends.local.settings import LocalSettings
from jobform.backends.local.slots import Slots
from jobform.backends.local.starter import SpawnerGone, Starter
from jobform.model.errors import BackendError, Started
from jobform.model.job import BackendBlock
from jobform.model.state import ENDED
from jobform.model.values import Json
from jobform.protocols import (
    Absent,
    Actual,
    Backend,
    Found,
    Gone,
    LogOptions,
    Mark,
    Place,
    ReadError,
    Ref,
    Scope,
    Sighting,
    Submission,
    Unknown,
    timestamp,
)
from jobform.schema import load_definition, load_document

_RUN = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_COUNTED_SLOTS = 64
"""With more slots than this, how many are free is not counted for a line of detail."""


class LocalBackend:
    """One `type: local` block. Refs are `{"run": <32 hex of the token>, "name": <remote name>}`."""

    def __init__(self, settings: LocalSettings, place: Place, facts: Facts, discovery: Discovery) -> None:
        self._settings = settings
        self._lending = Lending(settings.gpus, place.environ, discovery)
        self._place = place
        self._facts = facts
        self._home = Home(place.environ)
        self._starter = Starter(place.environ)

    def scope(self) -> Scope:
        return self._home.scope()

    def read(self, refs: Collection[Ref]) -> Mapping[Ref, Actual | Gone | ReadError]:
        waiting = _Waiting(self._home, self._settings.max_parallel, self._lending)
        return {ref: self._read(ref, waiting) for ref in refs}

    def find(self, marks: Collection[Mark]) -> Mapping[Mark, Found | Absent | Unknown]:
        return {mark: self._find(mark) for mark in marks}

    def submit(self, submission: Submission, mark: Mark) -> Ref:
        """Raises BackendError; after an ambiguous one, `find` knows."""
        ref = _ref(mark)
        run, name = _parse(ref)
        with _refused(f"{submission.address} could not be submitted"):
            self._home.prepare()
            proof = self._home.proof(run)
            run_dir = self._place.project / ".jobform" / "runs" / name
            order = compose(
                submission, mark, project=self._place.project, run_dir=run_dir, proof=proof, slots=self._home.slots,
                settings=self._settings, lending=self._lending, environ=self._place.environ,
            )
            with self._effect("proof", mark.address):
                proof.directory.mkdir(mode=0o700, exist_ok=True)
            for attempt in (1, 2):
                try:
                    self._start(submission, mark, proof, order)
                except SpawnerGone as error:  # the second look at the lock knows whether it acted
                    if attempt == 2:
                        raise BackendError(
                            f"{submission.address} may or may not have been submitted", str(error),
                            retryable=True, ambiguous=True,
                        ) from error
                else:
                    break
        return ref

    def update(self, ref: Ref, submission: Submission, expected: Actual) -> Actual:
        """No field of a local run is mutable, so the engine never asks for this."""
        del ref, expected
        raise BackendError(f"{submission.address} cannot be changed in place: a local run keeps what it was started with")

    def cancel(self, ref: Ref, *, only_if_waiting: bool) -> None:
        """The stop is durable when this returns. TERM follows at once, KILL after `kill_grace`."""
        run, name = _parse(ref)
        proof = self._home.proof(run)
        with _refused(f"{name} could not be cancelled"), self._effect("cancel", _address(proof, name)):
            try:
                with proof.gate():
                    start = self._start_of_live(proof)
                    if start is None:
                        return
                    if start and only_if_waiting:
                        raise Started
                    if not proof.cancel.exists():
                        write_record(proof.cancel, {"at": timestamp(self._place.clock.now())}, durable=True)
            except FileNotFoundError:
                return
            self._make_stop(proof, start)

    def delete(self, ref: Ref, *, whole: bool = False) -> None:
        """Removes the run directory, then the proof. Raises BackendError while the run is live."""
        del whole  # attempts share nothing here
        run, name = _parse(ref)
        proof = self._home.proof(run)
        gone = self._home.runs / f".deleted-{run}"
        with _refused(f"what remains of {name} could not be removed"), self._effect("delete", _address(proof, name)):
            try:
                with proof.gate():
                    actual = judge(proof, self._facts, _Waiting(self._home, self._settings.max_parallel, self._lending))
                    if isinstance(actual, Actual) and actual.phase not in ENDED:
                        raise BackendError(f"{name} has not ended: it is {actual.phase}")
                    directory = run_directory(proof, self._place.project, name)
                    if directory.name == name and directory.is_dir():
                        shutil.rmtree(directory)
                    proof.directory.rename(gone)  # in one step, so that no half of it can be read as something else
            except FileNotFoundError:
                pass
            if gone.exists():
                shutil.rmtree(gone)

    blanks_secrets = True
    """Launchers know the secrets of their runs and blank them in what they keep."""

    def logs(self, ref: Ref, options: LogOptions) -> Iterator[bytes]:
        """stdout, then stderr, then what is added to either. tail: so many last lines of each.

        When the files were removed: the end of them as it was kept.
        """
        _refuse_options(options)
        run, name = _parse(ref)
        proof = self._home.proof(run)
        with _refused(f"the output of {name} could not be read"):
            directory = run_directory(proof, self._place.project, name)
            shown = False
            for data in stream(
                (directory / "stdout.log", directory / "stderr.log"), self._place.clock, lambda: self._over(ref),
                follow=options.follow, tail=options.tail,
            ):
                shown = True
                yield data
            if not shown and not directory.exists():
                yield end_of(proof.tail, KEPT)

    def kept(self, ref: Ref, limit: int) -> bytes:
        run, name = _parse(ref)
        proof = self._home.proof(run)
        with _refused(f"the output of {name} could not be read"):
            if tail := end_of(proof.tail, limit):
                return tail
            if (read_record(proof.run) or {"secrets": True}).get("secrets"):
                return b""  # only the launcher knew what to blank
            directory = run_directory(proof, self._place.project, name)
            out, err = (end_of(directory / name, limit) for name in ("stdout.log", "stderr.log"))
            output, errors = shares(len(out), len(err), limit)
            return out[len(out) - output :] + err[len(err) - errors :]

    def lookup(self, run_id: str) -> Sighting | None:
        """id: the run's name. What it was submitted with is beside its output, as long as that is kept."""
        for sighting in self._sightings(run_id):
            directory = run_directory(self._home.proof(_parse(sighting.ref)[0]), self._place.project, sighting.name)
            with _refused(f"what {run_id} was submitted with could not be read"):
                described = (read_record(directory / "job.json") or {}).get("spec")
            fields: dict[str, Json] = described if isinstance(described, dict) else {}
            return replace(sighting, actual=replace(sighting.actual, fields=fields))
        return None

    def list(self) -> Iterator[Sighting]:
        """Every run of this user on this machine, whichever project it is of."""
        yield from sorted(self._sightings(), key=lambda sighting: sighting.created_at or "", reverse=True)

    def _sightings(self, name: str = "") -> Iterator[Sighting]:
        """Runs that can be read, of this name or all; what is being submitted or removed just now is passed by."""
        with _refused("the runs of this machine could not be listed"):
            found = sorted(path.name for path in self._home.runs.iterdir()) if self._home.runs.is_dir() else []
        waiting = _Waiting(self._home, self._settings.max_parallel, self._lending)
        for run in found:
            if not _RUN.fullmatch(run):
                continue
            proof = self._home.proof(run)
            try:
                record = read_record(proof.run) or {}
                called, made = str(record.get("name", "")), proof.run.stat().st_mtime
            except (OSError, ValueError):  # its own job's next read says what is wrong with it
                continue
            if not _NAME.fullmatch(called) or name not in ("", called):
                continue
            ref = Ref.of({"run": run, "name": called})
            actual = self._read(ref, waiting)
            if isinstance(actual, Actual):
                created = timestamp(datetime.fromtimestamp(made, UTC))
                yield Sighting(ref, called, str(record.get("mark", "")), actual, called, created)

    def _read(self, ref: Ref, waiting: "_Waiting") -> Actual | Gone | ReadError:
        try:
            return judge(self._home.proof(_parse(ref)[0]), self._facts, waiting)
        except BackendError as error:
            return ReadError(error.summary, error.detail, retryable=False)
        except (OSError, ValueError) as error:
            return ReadError("the records of a local run cannot be read", str(error), retryable=isinstance(error, OSError))

    def _find(self, mark: Mark) -> Found | Absent | Unknown:
        ref = _ref(mark)
        proof = self._home.proof(_parse(ref)[0])
        try:
            held = is_held(proof.lock)
            record = read_record(proof.start) or read_record(proof.exit)
            if record is None and (held or proof.cancel.exists()):
                record = read_record(proof.run)
                if record is None:
                    return Unknown("another command is submitting it just now")
        except (OSError, ValueError) as error:
            return Unknown(f"the records of the run cannot be read: {error}")
        if record is None:
            return Absent()
        return Found(ref, str(record.get("mark", "")).rsplit("-", 1)[-1])

    def _over(self, ref: Ref) -> bool:
        actual = self._read(ref, _Waiting(self._home, self._settings.max_parallel, self._lending))
        return not isinstance(actual, Actual) or actual.phase in ENDED

    def _start(self, submission: Submission, mark: Mark, proof: Proof, order: Order) -> None:
        """Lock, describe, hand over; nothing when the run exists already."""
        with self._effect("lock", mark.address):
            lock = take(proof.lock)
        if lock is None:
            return  # a launcher of this very run lives
        try:
            if proof.start.exists() or proof.exit.exists() or proof.cancel.exists():
                return
            record: dict[str, Value] = {
                "mark": mark.text, "name": mark.name, "address": mark.address, "attempt": mark.attempt, "dir": order.run_dir,
                "gpus": gpus_wanted(submission.spec), "secrets": bool(submission.masks),
            }
            write_record(proof.run, record, durable=False)
            self._describe(submission, mark, Path(order.run_dir))
            with self._effect("spawn", mark.address):
                self._starter.send(order, lock)
        finally:
            os.close(lock)

    def _describe(self, submission: Submission, mark: Mark, directory: Path) -> None:
        """The run directory with `job.json`, for people. It proves nothing and may be deleted at any time."""
        for parent in (directory.parent.parent, directory.parent, directory):
            if parent.is_symlink():
                raise BackendError(f"{parent} is a symbolic link", "Run directories are made in the project itself.")
            parent.mkdir(mode=0o700, exist_ok=True)
        job: dict[str, Json] = {"address": mark.address, "attempt": mark.attempt, "name": mark.name, "spec": submission.described}
        write_whole(directory / "job.json", _pretty(job), durable=False)

    def _start_of_live(self, proof: Proof) -> dict[str, Value] | None:
        """The start record of a live run, {} for one that waits, None for one that is over."""
        if proof.exit.exists():
            return None
        held = is_held(proof.lock)
        start = read_record(proof.start)
        if held:
            return start or {}
        live = start is not None and start.get("boot") == self._facts.boot_id() and is_alive(start, self._facts)
        return start if live else None

    def _make_stop(self, proof: Proof, start: dict[str, Value]) -> None:
        """Wake the launcher; a job without one is ended by a process that outlives this command."""
        if is_held(proof.lock):
            with suppress(ValueError):  # not written yet, or half: it looks for the cancel itself before it starts the job
                launcher = read_record(proof.lock) or {}
                if launcher.get("boot") == self._facts.boot_id():
                    signal_process(self._facts, int(str(launcher.get("pid"))), str(launcher.get("started")), WAKE)
        elif start:
            stop = Stop(int(str(start["pid"])), str(start["started"]), str(start["boot"]), self._settings.kill_grace)
            try:
                self._starter.send(stop)
            except SpawnerGone as error:
                raise BackendError("the job could not be told to end", str(error), retryable=True) from error

    @contextmanager
    def _effect(self, what: str, address: str) -> Iterator[None]:
        self._place.effect(f"local.{what}.before", address)
        yield
        self._place.effect(f"local.{what}.after", address)


class _Waiting:
    """Why runs wait; the slots are counted once for all of them."""

    def __init__(self, home: Home, places: int, lending: Lending) -> None:
        self._home, self._places, self._lending = home, places, lending
        self._free: dict[tuple[int, ...], tuple[int, int]] = {}

    def __call__(self, gpus: int) -> str:
        places = self._places
        devices = self._lending.numbers() if gpus else ()
        if places + len(devices) > _COUNTED_SLOTS:
            return f"waiting for a slot (max_parallel is {places})"
        if devices not in self._free:
            self._free[devices] = Slots(self._home.slots, places, devices).free()
        free = self._free[devices]
        text = f"waiting for a slot: {free[0]} of {places} free"
        return f"{text}, and for {gpus} GPU{'s' * (gpus > 1)}: {free[1]} of {len(devices)} free" if gpus else text


def _ref(mark: Mark) -> Ref:
    return Ref.of({"run": mark.token[:32], "name": mark.name})


def _parse(ref: Ref) -> tuple[str, str]:
    """Both become parts of paths, and a state file may come from anywhere."""
    value = ref.value
    run, name = (value.get("run"), value.get("name")) if isinstance(value, dict) else (None, None)
    if not isinstance(run, str) or not isinstance(name, str) or not _RUN.fullmatch(run) or not _NAME.fullmatch(name):
        raise BackendError("this is no reference to a local run", ref.text[:200])
    return run, name


def _refuse_options(options: LogOptions) -> None:
    """A local run is one process that is started once, and nobody notes when it prints a line."""
    for given, flag, why in (
        (options.index is not None, "--index", "a local run is a single process"),
        (options.container, "--container", "a local run has no containers"),
        (options.previous, "--previous", "a local run is never started again by itself; --attempt shows an earlier attempt"),
        (options.since is not None, "--since", "the lines of a local run carry no time; --tail shows the last ones"),
    ):
        if given:
            raise BackendError(f"{flag} has no meaning for a job on a local backend", f"{why[0].upper()}{why[1:]}.")


def _address(proof: Proof, name: str) -> str:
    """The address that the run was submitted for; its name when that is not recorded."""
    return str((read_record(proof.run) or {}).get("address", name))


def _pretty(value: Json) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "replace")


@contextmanager
def _refused(summary: str) -> Iterator[None]:
    """Failures of the file system and damaged records as BackendError."""
    try:
        yield
    except OSError as error:
        raise BackendError(summary, f"{error.filename or 'the system'}: {error.strerror or error}", retryable=True) from error
    except ValueError as error:
        raise BackendError(summary, str(error)) from error


class LocalType:
    """The entry point `local`. facts: of the system, unless a test brings its own."""

    name = "local"
    completes = True
    max_submitted: int | None = 256
    poll = (0.05, 0.5)
    foreign_scope = "hold"
    secrets_visible = False

    def __init__(self, facts: Callable[[], Facts] = system_facts) -> None:
        self._facts = facts
        self._discovery = Discovery()

    def spec_schema(self) -> dict[str, Json]:
        return load_document("local")

    def settings_schema(self) -> dict[str, Json]:
        return load_definition("local", "settings")

    def open(self, block: BackendBlock, place: Place) -> Backend:
        return LocalBackend(LocalSettings.of(block.settings), place, self._facts(), self._discovery)


TYPE = LocalType()
