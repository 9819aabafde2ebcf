"""Whether a state is the one that belongs here: its lineage, and a serial that never goes back."""

from collections.abc import Iterator
from contextlib import contextmanager

from jobform.engine.seen import Seen, Sighting
from jobform.model.errors import JobformError, StateError
from jobform.model.state import State
from jobform.protocols import Clock, timestamp


class Trust:
    """What is expected of the state at one location.

    `look` comes before each read of the state: what somebody else notes after that read began is not held against it.

    pin: the lineage that the project names. accept_older: the user knows that the state was replaced. `before`, in each method:
    the stored state that this process read last, if any.
    """

    def __init__(self, location: str, seen: Seen, clock: Clock) -> None:
        self.pin: str | None = None
        self.accept_older = False
        self._location = location
        self._seen = seen
        self._sighted: Sighting | None = None
        self._clock = clock

    def look(self) -> None:
        """Read what was seen here so far. Raises StateError when that cannot be read."""
        self._sighted = self._seen.of(self._location)

    def refuse_missing(self) -> None:
        """For a state that does not exist. Raises StateError when one is pinned."""
        if self.pin is not None:
            raise StateError.of(
                "state_missing", f"There is no state at {self._location}, and the project pins lineage {self.pin}",
                hint="Restore it, or run `jobform init` where it was never created.",
            )

    def refuse_vanished(self, before: State | None, journal: bool) -> None:
        """For a state that does not exist. Raises StateError when it did. journal: whether its journal is still there."""
        sighting = self._known(before)
        if sighting is not None and not self.accept_older:
            raise StateError.of(
                "state_vanished", f"The state is gone: {self._location} was here at serial {sighting.serial} ({sighting.at})",
                detail=f"Its lineage is {sighting.lineage}. Without it every job would look new.",
                hint="Restore it, for example from its .backup, or push a copy with `jobform state push`.",
            )
        if journal:
            raise StateError.of(
                "state_vanished", f"The state is gone: its journal is there and {self._location} is not",
                hint="Restore it, for example from its .backup, or push a copy with `jobform state push`.",
            )

    def refuse_unpinned(self, what: str, state: State) -> None:
        """Raises StateError when the lineage is not the pinned one. what: the state's name in messages."""
        if self.pin is not None and state.lineage != self.pin:
            raise other_lineage(what, state.lineage, self.pin)

    def refuse_strange(self, state: State, before: State | None) -> None:
        """Raises StateError when the lineage is not the expected one or the serial went back."""
        self.refuse_unpinned(self._location, state)
        known = self._known(before)
        if known is None or self.accept_older:
            return
        if known.lineage != state.lineage:
            raise other_lineage(self._location, state.lineage, known.lineage)
        if known.serial > state.serial:
            raise StateError.of(
                "state_went_back", f"{self._location} has serial {state.serial}, and was here at {known.serial} ({known.at})",
                detail="It was replaced by an older one: what happened since is not in it.",
                hint="Restore the newer one, or go on with --accept-older-state.",
            )

    def floor(self, pushed: State, present: State | None, force: bool) -> int:
        """The lowest serial that a pushed state may have. Raises StateError when it may not replace the present one."""
        known = self._known(present)
        if known is None:
            return pushed.serial
        if force:
            return known.serial + 1
        lineage = present.lineage if present else known.lineage
        if pushed.lineage != lineage:
            raise other_lineage("the pushed document", pushed.lineage, lineage)
        if pushed.serial < known.serial or (present is not None and pushed.serial == present.serial):
            what = "other content under the same serial" if pushed.serial == known.serial else f"serial {pushed.serial}"
            raise StateError.of(
                "push_refused", f"The pushed document has {what}; the present state is at serial {known.serial}",
                hint="Pull again and repeat the edit with a higher serial, or force it.",
            )
        return pushed.serial

    def note(self, state: State) -> str:
        """Remember the state. Returns why that was not possible, "" when it was."""
        try:
            self._seen.note(self._location, self._sighting(state))
        except OSError as error:
            return error.strerror or str(error)
        return ""

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Read what is there, whatever it is."""
        pin, accept = self.pin, self.accept_older
        self.pin, self.accept_older = None, True
        try:
            yield
        finally:
            self.pin, self.accept_older = pin, accept

    def _known(self, before: State | None) -> Sighting | None:
        """The latest sighting, this process's own included."""
        seen = self._sighted
        if before is None:
            return seen
        own = self._sighting(before)
        return own if seen is None or own.serial >= seen.serial else seen

    def _sighting(self, state: State) -> Sighting:
        return Sighting(state.lineage, state.serial, timestamp(self._clock.now()))


def other_lineage(what: str, found: str, expected: str) -> JobformError:
    """The error of a state, journal or document that belongs elsewhere."""
    return StateError.of(
        "state_lineage", f"{what} is of lineage {ascii(found)[1:-1][:60]}, expected {expected}",
        detail="It belongs to another project or target, or was created anew.",
        hint="Point `state:` at the right place, or restore the right state.",
    )
