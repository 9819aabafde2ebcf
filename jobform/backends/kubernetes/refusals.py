"""What an API server's refusal of a question means for a plan: a verdict, the user's own field, a short text and what to do."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jobform.backends.kubernetes.composed import Composed
from jobform.backends.kubernetes.differences import is_quantity
from jobform.backends.kubernetes.fields import WORKLOAD, concerned, manifest, numbered, origin, readable, steps_of, value_at
from jobform.backends.kubernetes.kinds import Kind
from jobform.backends.kubernetes.managed import Steps, shown
from jobform.backends.kubernetes.shapes import text
from jobform.clients.kube.errors import KubeError
from jobform.clients.text import short
from jobform.model.units import parse_quantity
from jobform.model.values import Json, Path
from jobform.protocols import UNKNOWN_TEXT, Forecast, Intended

_UNKNOWN_FIELD = re.compile(r'unknown field "([^"]{1,300})"')
_NOT_DECLARED = "field not declared in schema"
_NO_QUANTITY = "quantities must match"
_MISSING_NAMESPACE = re.compile(r'namespaces "[^"]*" not found')
_UNSERVED = ("could not find the requested resource", "page not found")
_CANNOT = re.compile(r'cannot (\w+) resource "([^"]{1,100})"(?: in API group "([^"]{0,253})")?')
_GO_VALUE = re.compile(r"&value\.\w+\{Value:(.*?)\}")
_IMMUTABLE = re.compile(r"\bimmutable\b")
_MOST_TOLD = 5


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about one object of an attempt. index: the companion's number, or WORKLOAD."""

    intended: Intended
    composed: Composed
    index: int = WORKLOAD

    @property
    def what(self) -> str:
        """The object, for people."""
        obj = manifest(self.composed, self.index)
        return f"{text(obj, 'kind')} {text(obj, 'metadata', 'name')}"


def verdict(error: KubeError, asked: Asked) -> Forecast:
    """What follows from a refusal. Raises BackendError for one that says nothing about this object: nobody can be asked."""
    if error.status in (0, 401):
        raise error.backend_error("the cluster could not be asked what the changes would do")
    if error.status == 409:
        return _conflict(error, asked)
    if error.other_object:
        return Forecast(
            "refused", summary=f"{asked.what} is another object now: somebody removed it and made a new one of that name",
            hint="run plan again; it looks at what is there now",
        )
    if fixed := [field for field in error.immutable if field]:  # a policy names no field but in its text
        return _fixed(asked, [steps_of(field, dict(manifest(asked.composed, asked.index))) for field in fixed], "")
    forecast = _denied(error, asked) or _missing(error, asked) or _invalid(error, asked)
    if forecast is None:
        return Forecast("unasked", summary="the cluster gave no usable answer", detail=str(error))
    return _unless_unknown(forecast, error, asked)


def _conflict(error: KubeError, asked: Asked) -> Forecast:
    if error.conflict == "fields":
        obj = dict(manifest(asked.composed, asked.index))
        conflicts = sorted((conflict.field, conflict.manager) for conflict in error.conflicts)  # they come in any order
        held = [(steps_of(field, obj), manager) for field, manager in conflicts[:_MOST_TOLD]]
        told = ", ".join(f"{readable(shown(steps))} by {manager}" for steps, manager in held)
        hint = "remove the field here, or let them give it up"
        return _at(asked, held[0][0], f"others hold fields of {asked.what}: {told}", "", hint)
    if error.conflict in ("gone", "uid"):
        return Forecast("refused", summary=f"{asked.what} is gone or was replaced", detail=error.message, hint="run plan again")
    return Forecast("unasked", summary="objects changed while the cluster was asked", detail="", hint="run plan again")


def _fixed(asked: Asked, places: Iterable[Steps], detail: str) -> Forecast:
    """`fixed` for an update; a submission that meets an object which it cannot change is refused."""
    steps = list(places)
    names = ", ".join(readable(shown(place)) for place in steps[:_MOST_TOLD])
    if not asked.intended.fields:
        return _at(asked, steps[0] if steps else (), f"{asked.what} exists, and {names} of it cannot be changed", detail,
                   "remove it, or give it another name")
    paths: dict[Path, None] = {}
    for place in steps:
        paths.update(dict.fromkeys(concerned(asked.composed, asked.index, asked.intended.fields, place)))
    return Forecast(
        "fixed", tuple(paths) or asked.intended.fields, detail=detail or f"{asked.what} does not let {names} be changed in place",
    )


def _denied(error: KubeError, asked: Asked) -> Forecast | None:
    by = error.denied_by
    if not by:
        return None
    if by == "rbac":
        return Forecast(
            "unasked", summary="this account may not ask the server for a dry run", detail=_right(error, asked),
            hint="grant it, or rely on the field rules and on what the cluster records of its objects",
        )
    kind, _, name = by.partition(" ")
    if kind in ("webhook", "policy"):
        said = error.message.rpartition("denied the request: ")[2].rpartition("denied request: ")[2]
        place = re.match(r"((?:metadata|spec)[^\s:]*): (.*)", said)
        steps = steps_of(place[1], dict(manifest(asked.composed, asked.index))) if place else ()
        word = "admission webhook" if kind == "webhook" else "admission policy"
        if asked.intended.fields and place and _IMMUTABLE.search(said):
            return _fixed(asked, [steps], f"the {word} {name} does not let {place[1]} be changed now")
        return _at(asked, steps, f"the {word} {name} refuses {asked.what}", said, "")
    if by == "quota":
        return Forecast(
            "refused", summary=f"a quota of the namespace does not let {asked.what} be created",
            detail=error.message.partition("forbidden: ")[2] or error.message,
            hint="remove what has ended, or ask for a greater quota",
        )
    if by == "namespace terminating":
        return Forecast("refused", summary="the namespace is being removed", detail=error.message)
    return Forecast("refused", summary=f"an admission rule of the cluster refuses {asked.what}", detail=error.message)


def _missing(error: KubeError, asked: Asked) -> Forecast | None:
    if error.status != 404:
        return None
    obj = manifest(asked.composed, asked.index)
    if _MISSING_NAMESPACE.search(error.message):
        name = text(obj, "metadata", "namespace")
        return Forecast(
            "refused", summary=f"there is no namespace {name} in this cluster",
            hint=f"create it (kubectl create namespace {name}), or correct `namespace` of the backend",
        )
    if any(words in error.message for words in _UNSERVED):
        api, kind = text(obj, "apiVersion"), text(obj, "kind")
        path = origin(asked.composed, asked.index, ("kind",))
        return Forecast(
            "refused", path=path, summary=f"the cluster has no kind {kind} in {api}",
            hint=_install(asked, api),
        )
    return None


def _install(asked: Asked, api: str) -> str:
    kind: Kind = asked.composed.kind
    group = api.partition("/")[0]
    if asked.index == WORKLOAD and kind.plural:
        return f"install the operator that brings CustomResourceDefinition {kind.plural}.{group}, or correct apiVersion"
    return f"install what serves {group}, or correct apiVersion"


def _invalid(error: KubeError, asked: Asked) -> Forecast | None:
    """Unknown fields, wrong types and values: the first of them with its place, the others told."""
    obj = dict(manifest(asked.composed, asked.index))
    if error.webhook_failed:
        return Forecast(
            "refused", summary=f"an admission webhook cannot be reached, so {asked.what} would be refused", detail=error.message,
            hint="the cluster's operators must bring it back; nothing is wrong with the job",
        )
    unknown = [cause.field for cause in error.causes if cause.message == _NOT_DECLARED] or _UNKNOWN_FIELD.findall(error.message)
    if unknown:
        places = [steps_of(field, obj) for field in sorted(set(unknown))]  # the server names them in any order
        names = ", ".join(readable(shown(place)) for place in places[:_MOST_TOLD])
        hint = "correct or remove it; the server would not keep it"
        return _at(asked, places[0], f"{text(obj, 'kind')} has no field {names}", "", hint)
    told = [(steps_of(cause.field, obj), _GO_VALUE.sub(r"\1", cause.message)) for cause in error.causes]
    if _NO_QUANTITY in error.message and not told:
        told = [(steps, f"{value_at(obj, steps)!r} is no quantity, such as 500m, 8 or 32Gi") for steps in _no_quantities(obj, ())]
    if told:
        more = "; ".join(_said(steps, said) for steps, said in told[1:_MOST_TOLD])
        return _at(asked, told[0][0], f"{asked.what} would be refused: {_said(*told[0])}", more, "")
    if error.status in (400, 422) or _NO_QUANTITY in error.message:
        return Forecast("refused", summary=f"{asked.what} would be refused", detail=error.message)
    return None


def _at(asked: Asked, steps: Steps, summary: str, detail: str, hint: str) -> Forecast:
    """`refused` because of a field. What the user did not write has no place."""
    path = origin(asked.composed, asked.index, steps) if steps else None
    return Forecast("refused", path=path, summary=summary, detail=detail, hint=hint)


def _said(steps: Steps, message: str) -> str:
    return f"{readable(shown(steps))}: {message}" if steps else message


def _unless_unknown(forecast: Forecast, error: KubeError, asked: Asked) -> Forecast:
    """A value that is not known yet was asked about as a placeholder: a refusal that may be about that says nothing."""
    if forecast.verdict != "refused" or not asked.intended.partial or error.denied_by in ("quota", "namespace terminating"):
        return forecast
    if error.status == 404:
        return forecast
    obj = dict(manifest(asked.composed, asked.index))
    places = [steps_of(cause.field, obj) for cause in error.causes]
    known = bool(places) and not any(_is_open(value_at(obj, place)) for place in places)
    if forecast.path is not None and not places:
        known = not _is_open(value_at(asked.intended.submission.spec, forecast.path))
    if known or not _is_open(obj):
        return forecast
    return Forecast(
        "unasked", summary="they rest on values that are not known yet",
        detail="the cluster refuses the placeholders that stand for them", hint="the submission asks with the values themselves",
    )


def _is_open(value: Json) -> bool:
    """Whether a value holds a placeholder."""
    if isinstance(value, dict):
        return any(_is_open(item) for item in value.values())
    if isinstance(value, list):
        return any(_is_open(item) for item in value)
    return isinstance(value, str) and UNKNOWN_TEXT in value


def _right(error: KubeError, asked: Asked) -> str:
    """Which right is missing; the same text for all objects that lack it."""
    found = _CANNOT.search(error.message)
    namespace = text(manifest(asked.composed, asked.index), "metadata", "namespace")
    if not found:
        return short(error.message, 200)
    resource = f"{found[2]}.{found[3]}" if found[3] else found[2]
    verbs = "patch and create" if found[1] in ("patch", "create") else found[1]
    return f"it needs {verbs} on {resource} in namespace {namespace}"


def _no_quantities(value: Json, steps: Steps) -> Iterator[Steps]:
    """Every place that should hold a quantity and does not."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _no_quantities(item, (*steps, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _no_quantities(item, (*steps, numbered(index, value, steps)))
    elif isinstance(value, str) and is_quantity(steps):
        try:
            parse_quantity(value)
        except ValueError:
            yield steps
