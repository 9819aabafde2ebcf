"""Runs on the configured backends that the state does not account for. It only looks: no lock, nothing is written."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from shlex import quote

from jobform.engine.refresh import observe_orphans
from jobform.model.address import MarkParts, mark_hash, mark_parts, name_hashes, parts_of
from jobform.model.claims import Orphan, Orphans, Unlisted, Why
from jobform.model.errors import BackendError, FailedError, InputError, JobformError
from jobform.model.state import ENDED, Attempt, Op, Phase, State, Tombstone
from jobform.model.suggest import suggest
from jobform.model.values import Json
from jobform.protocols import Actual, Gone, Importing, Lister, Ref, Scope, Sighting
from jobform.run.planning import copy_of
from jobform.run.session import Session


def orphans(session: Session, only: str | None, *, everything: bool) -> Orphans:
    """Runs that carry this project's mark and are not in its state, and runs of removed jobs that may live.

    only: a backend's name. everything: also live runs without any mark. A backend that cannot be asked is told, and the others
    are. Raises InputError for an unknown backend, and FailedError when the only one has no list.
    """
    configured = session.settings.backends
    if only is not None and only not in configured:
        near = suggest(only, configured)
        raise InputError.of(
            "unknown_backend", f"there is no backend {only!r}",
            hint=f"did you mean {near!r}?" if near else f"there are: {', '.join(configured)}",
        )
    search = _Search(session, everything=everything)
    for name in [only] if only is not None else configured:
        search.look(name)
    incapable = [one for one in search.unlisted if not one.able]
    if only is not None and incapable:
        raise FailedError.of("no_list", incapable[0].summary, detail=incapable[0].detail)
    search.left_behind(only)
    return Orphans(tuple(search.found), tuple(search.unlisted))


@dataclass(slots=True)
class _Known:
    """What a state knows of runs: attempts by reference, and who has which mark, by the attempt that it names."""

    attempts: dict[str, list[Attempt]] = field(default_factory=lambda: defaultdict(list))
    marked: set[tuple[str, str, int]] = field(default_factory=set)
    begun: set[tuple[str, str, int]] = field(default_factory=set)
    left: dict[str, Tombstone] = field(default_factory=dict)

    @classmethod
    def of(cls, state: State) -> "_Known":
        known = cls(left={address: tombstone for address, tombstone in state.tombstones.items() if tombstone.live})
        for entry in state.jobs.values():
            known._note(entry.attempts)
            if entry.intent and entry.intent.op is Op.SUBMIT and (parts := mark_parts(entry.intent.mark)):
                known.begun.add(parts.key)
        for tombstone in state.tombstones.values():
            known._note(tombstone.attempts)
        return known

    def _note(self, attempts: Iterable[Attempt]) -> None:
        for attempt in attempts:
            self.attempts[Ref.of(attempt.ref).text].append(attempt)
            if parts := mark_parts(attempt.mark):
                self.marked.add(parts.key)

    def has(self, ref: Ref, scope: Scope) -> bool:
        return any(scope.is_place(attempt.scope) for attempt in self.attempts.get(ref.text, ()))

    def left_as(self, sighting: Sighting, parts: MarkParts | None, scope: Scope) -> str | None:
        """The removed job whose last run this is, when that may live."""
        for address, tombstone in self.left.items():
            named = mark_parts(tombstone.mark)
            if tombstone.ref is not None:
                same = Ref.of(tombstone.ref) == sighting.ref
            else:
                same = named is not None and parts is not None and named.key == parts.key
            if same and scope.is_place(tombstone.scope):
                return address
        return None


class _Search:
    """One look at everything. Two backends of one project may reach one place: a run is told once."""

    def __init__(self, session: Session, *, everything: bool) -> None:
        self._session = session
        self._everything = everything
        self._state = copy_of(session.manager.state)
        self._known = _Known.of(self._state)
        self._lineage = mark_hash(self._state.lineage)
        self._declared = _declared(session)
        self._addresses = {
            mark_hash(address): address for address in (*self._declared, *self._state.tombstones, *self._state.jobs)
        }
        self._named = name_hashes(self._state.lineage, self._addresses.values())
        self._met: set[tuple[str, Ref]] = set()
        self._seen_left: dict[str, tuple[str, Sighting]] = {}
        self.found: list[Orphan] = []
        self.unlisted: list[Unlisted] = []

    def look(self, name: str) -> None:
        """Every run of one backend."""
        places = self._session.places
        backend = places.backend(name)
        if not isinstance(backend, Lister):
            why = f"runs on backend {name!r} cannot be listed: its type {places.type(name).name} has no list of them"
            self.unlisted.append(Unlisted(name, why, able=False))
            return
        try:
            scope = places.scope(name)
            for sighting in backend.list():
                if (scope.text, sighting.ref) not in self._met:
                    self._met.add((scope.text, sighting.ref))
                    self.found += self._judge(name, scope, sighting, importable=isinstance(backend, Importing))
        except BackendError as error:
            said = f"the runs on backend {name!r} could not be listed: {error.summary}"
            self.unlisted.append(Unlisted(name, said, error.detail))
        except InputError:
            raise
        except JobformError as error:
            first = error.diagnostics[0]
            self.unlisted.append(Unlisted(name, first.summary, first.detail))
        except Exception as error:  # noqa: BLE001  # a plug-in's bug must not keep the others from being shown
            said = f"the runs on backend {name!r} could not be listed: {type(error).__name__}: {error}"
            self.unlisted.append(Unlisted(name, said, "this is a fault in the backend's plug-in"))

    def left_behind(self, only: str | None) -> None:
        """The runs of removed jobs that are not known to have ended, as they are now."""
        wanted = {address for address, left in self._known.left.items() if only in (None, left.backend)}
        places, at = self._session.places, self._session.now()
        unread = {one.backend for one in self.unlisted}
        asked = {address for address in wanted if places.configured(self._known.left[address].backend)}
        asked = {address for address in asked if self._known.left[address].backend not in unread}
        over = {event.address for event in observe_orphans(self._state, places, at, asked)}
        for address in sorted(wanted - over):
            found = self._left(address, self._known.left[address])
            if found is not None:
                self.found.append(found)

    def _left(self, address: str, left: Tombstone) -> Orphan | None:
        """One of them, None when it was seen to be over."""
        name, sighting = self._seen_left.get(address, (left.backend, None))
        phase, detail = (sighting.actual.phase, sighting.actual.detail) if sighting else self._read(left)
        if phase in ENDED:
            return None
        parts = mark_parts(left.mark)
        run = sighting.id if sighting else _id(left.ref)
        hint = f"`jobform cancel {quote(address)}` stops it"
        if run and address in self._declared:
            hint += f", `{_import(address, run)}` takes it over"
        return Orphan(
            name, run, sighting.name if sighting else "", phase, Why.LEFT_BEHIND, detail, address, left.last_attempt,
            left.mark if parts else "", sighting.created_at if sighting else None, hint,
        )

    def _read(self, left: Tombstone) -> tuple[Phase, str]:
        """The present of a run that no list showed."""
        places = self._session.places
        if not places.configured(left.backend):
            return Phase.UNKNOWN, f"backend {left.backend} is not configured any more"
        if left.ref is None:
            return Phase.UNKNOWN, "only its mark is known"
        ref = Ref.of(left.ref)
        try:
            if not places.scope(left.backend).is_place(left.scope):
                return Phase.UNKNOWN, f"backend {left.backend} reaches another place now"
            answer = places.backend(left.backend).read([ref]).get(ref)
        except (BackendError, FailedError) as error:
            return Phase.UNKNOWN, f"it could not be read: {error}"
        if isinstance(answer, Actual):
            return answer.phase, answer.detail
        return Phase.UNKNOWN, "it is gone" if isinstance(answer, Gone) else "it could not be read"

    def _judge(self, backend: str, scope: Scope, sighting: Sighting, *, importable: bool) -> Iterator[Orphan]:
        """What is to be told of one run: nothing, when the state accounts for it or another project does."""
        parts, known = parts_of(sighting.mark, sighting.name, self._state.lineage, self._named), self._known
        left = known.left_as(sighting, parts, scope)
        if left is not None:
            self._seen_left[left] = backend, sighting
            return
        if known.has(sighting.ref, scope):
            return
        if parts is None:
            if self._everything and not sighting.mark and sighting.actual.phase not in ENDED:
                hint = f"`{_import('ADDRESS', sighting.id)}` takes it over for a declared job" if importable else ""
                yield _orphan(backend, sighting, Why.UNOWNED, hint=hint)
            return
        if parts.lineage != self._lineage or parts.key in known.begun:
            return
        address = self._addresses.get(parts.address, "")
        why = Why.DUPLICATE if parts.key in known.marked else Why.UNRECORDED
        yield _orphan(backend, sighting, why, parts, address, self._hint(sighting, why, address, importable=importable))

    def _hint(self, sighting: Sighting, why: Why, address: str, *, importable: bool) -> str:
        over = sighting.actual.phase in ENDED
        if why is Why.DUPLICATE:
            said = f"the state has another run for this attempt of {address or 'a job'}"
            return said if over else f"{said}: stop this one on the service itself"
        entry = self._state.jobs.get(address)
        last = entry.last if entry else None
        free = entry is None or (entry.intent is None and (last is None or last.class_ == "lost"))
        if importable and free and address in self._declared:
            return f"`{_import(address, sighting.id)}` takes it over"
        if address and not free:
            return f"{address} has another run" + ("" if over else ": stop this one on the service itself")
        if not importable:
            return "" if over else "stop it on the service itself"
        stop = "" if over else ", or stop it on the service itself"
        return f"declare {address or 'its job'}, then `{_import(address or 'ADDRESS', sighting.id)}` takes it over{stop}"


def _orphan(
    backend: str, sighting: Sighting, why: Why, parts: MarkParts | None = None, address: str = "", hint: str = "",
) -> Orphan:
    return Orphan(
        backend, sighting.id, sighting.name, sighting.actual.phase, why, sighting.actual.detail, address,
        parts.attempt if parts else None, sighting.mark if mark_parts(sighting.mark) else "", sighting.created_at, hint,
    )


def _declared(session: Session) -> frozenset[str]:
    """The addresses that the files declare; none when they cannot be read: what runs can be looked for all the same."""
    try:
        return frozenset(session.project.jobs)
    except InputError:
        return frozenset()


def _import(address: str, run: str) -> str:
    return f"jobform import {quote(address)} {quote(run)}"


def _id(ref: Json) -> str:
    """How a run is called by its reference, as well as that can be told without its backend."""
    if isinstance(ref, dict) and isinstance(run := ref.get("id", ref.get("name")), str):
        return run
    return "" if ref is None else Ref.of(ref).text
