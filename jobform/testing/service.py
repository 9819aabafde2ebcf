"""What the reference service is asked and what it answers, whether it is in this process or behind HTTP."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from jobform.model.state import Phase
from jobform.model.values import Json


class ServiceError(Exception):
    """The service says no. status: as in HTTP; code: stable, for programs."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Order:
    """What a client asks to run. unique: give back the run that has the same name and mark instead of making another."""

    name: str
    mark: str
    address: str
    spec: Mapping[str, Json] = field(repr=False)
    service: bool = False
    unique: bool = True

    def to_json(self) -> dict[str, Json]:
        return {
            "name": self.name, "mark": self.mark, "address": self.address, "spec": dict(self.spec), "service": self.service,
            "unique": self.unique,
        }

    @classmethod
    def from_json(cls, value: Json) -> "Order":
        """Raises ServiceError 422 for anything that is not an order."""
        try:
            assert isinstance(value, dict)
            spec = value["spec"]
            assert isinstance(spec, dict)
            name, mark, address = (str(value[key]) for key in ("name", "mark", "address"))
            return cls(name, mark, address, spec, value["service"] is True, value["unique"] is True)
        except (AssertionError, KeyError) as error:
            raise ServiceError(422, "invalid", "an order has name, mark, address, spec, service and unique") from error


@dataclass(frozen=True, slots=True)
class Shown:
    """What the service says of one run. Times are seconds since the epoch; fields is what it reports of the spec."""

    id: str
    name: str
    mark: str
    version: int
    phase: Phase
    created: float
    detail: str = ""
    class_: str | None = None
    reason: str = ""
    exit: int | None = None
    outputs: Mapping[str, Json] | None = None
    started: float | None = None
    ended: float | None = None
    fields: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        return {
            "id": self.id, "name": self.name, "mark": self.mark, "version": self.version, "phase": self.phase.value,
            "created": self.created, "detail": self.detail, "class": self.class_, "reason": self.reason, "exit": self.exit,
            "outputs": None if self.outputs is None else dict(self.outputs), "started": self.started, "ended": self.ended,
            "fields": dict(self.fields),
        }

    @classmethod
    def from_json(cls, value: Json) -> "Shown":
        """Raises ValueError for anything that is not a run."""
        if not isinstance(value, dict):
            raise ValueError("a run is an object")
        fields, outputs = value.get("fields"), value.get("outputs")
        version, code = value.get("version"), value.get("exit")
        if not isinstance(fields, dict) or not isinstance(outputs, dict | None):
            raise ValueError("a run has fields, and its outputs are an object")
        if not isinstance(version, int) or not isinstance(code, int | None):
            raise ValueError("a run has a version, and its exit code is an integer")
        created = _moment(value, "created")
        if created is None:
            raise ValueError("a run has a time of creation")
        class_ = value.get("class")
        return cls(
            _text(value, "id"), _text(value, "name"), _text(value, "mark"), version, Phase(_text(value, "phase")), created,
            _text(value, "detail"), None if class_ is None else str(class_), _text(value, "reason"), code, outputs,
            _moment(value, "started"), _moment(value, "ended"), fields,
        )


def mark_key(mark: str) -> str:
    """A mark without its body: the same for every submission of one attempt."""
    return mark.rsplit("-", 1)[0]


class Service(Protocol):
    """The calls. All raise ServiceError; behind HTTP also BackendError, when the call itself failed."""

    def scope(self, namespace: str) -> str:
        """The namespace's identity; 404 for one that does not exist."""

    def create(self, namespace: str, order: Order) -> Shown:
        """A new run, or the one that has the same name and mark if the order says unique; 404, 409 `name_taken`, 422."""

    def get(self, namespace: str, run: str) -> Shown:
        """One run; 404."""

    def runs(self, namespace: str, ids: Collection[str]) -> Mapping[str, Shown]:
        """Those of the runs that exist, by id."""

    def marked(self, namespace: str, keys: Collection[str]) -> Mapping[str, list[Shown]]:
        """The runs that carry each mark (without its body), oldest first; a mark that none carries is left out."""

    def listed(self, namespace: str) -> list[Shown]:
        """Every run, oldest first."""

    def update(self, namespace: str, run: str, spec: Mapping[str, Json], version: int) -> Shown:
        """Replace the spec where every changed field may change now; 404, 412 `changed` (other version), 422 `immutable`."""

    def cancel(self, namespace: str, run: str, *, only_if_waiting: bool) -> None:
        """Accept the stop; quiet when over; 404, or 409 `started` for a conditional one that came too late."""

    def delete(self, namespace: str, run: str) -> None:
        """Remove an ended run; 404, or 409 `live` for one that has not ended."""


def _text(value: Mapping[str, Json], key: str) -> str:
    text = value.get(key)
    if not isinstance(text, str):
        raise ValueError(f"a run has a text {key!r}")
    return text


def _moment(value: Mapping[str, Json], key: str) -> float | None:
    moment = value.get(key)
    if moment is not None and (isinstance(moment, bool) or not isinstance(moment, int | float)):
        raise ValueError(f"the time {key!r} of a run is a number")
    return moment
