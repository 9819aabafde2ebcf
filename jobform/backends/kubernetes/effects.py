"""Changes that a server takes in place although they stop the run and start it again. Source: a real Kueue, measured."""

from collections.abc import Iterator, Mapping

from jobform.backends.kubernetes.composed import Composed, Manifest
from jobform.backends.kubernetes.fields import value_at
from jobform.backends.kubernetes.managed import Steps, owners, owns
from jobform.backends.kubernetes.names import QUEUE_NAME
from jobform.backends.kubernetes.shapes import at, mapping, number, text
from jobform.model.state import ENDED
from jobform.model.values import Json

_COUNTS = frozenset({"parallelism", "completions", "replicas", "numNodes", "minAvailable", "numOfHosts"})
"""Fields that say how many pods an object has. Kueue makes a new Workload when their number changes, which stops all of them."""

_QUEUE_LABEL: Steps = ("metadata", "labels", QUEUE_NAME)


def restarting(composed: Composed, before: Manifest, after: Mapping[str, Json] | None) -> tuple[tuple[Steps, ...], str]:
    """The parts of an object whose change restarts its run, and why; ((), "") when none does.

    before: the present object; after: what the server's dry run makes of it, None when it could not be asked.
    """
    if composed.kind.judge(before).phase in ENDED:
        return (), ""
    wanted: Mapping[str, Json] = composed.workload if after is None else after
    queue = text(before, *map(str, _QUEUE_LABEL))
    if queue and not text(mapping(dict(wanted), "metadata", "labels"), QUEUE_NAME) and (after is not None or _is_ours(before)):
        return (_QUEUE_LABEL,), f"without its label it would leave queue {queue}, wait for ever and still hold its quota there"
    suspend = composed.kind.suspend_path
    held = suspend is not None and value_at(before, suspend) is True
    if suspend is not None and (after is not None or value_at(dict(wanted), suspend) is not None):
        wants = value_at(dict(wanted), suspend) is True
        if wants and not held:
            return (suspend,), "suspending it stops its pods; it starts from the beginning when it is resumed"
        if held and not wants and queue:
            return (suspend,), "its queue has not admitted it: its pods would start outside the quota and be stopped at once"
    if not queue or held:
        return (), ""
    changed = tuple(_recounted(composed, before, wanted))
    return changed, "its queue stops all its pods and admits it anew when their number changes" if changed else ""


def _is_ours(before: Manifest) -> bool:
    """Whether the queue label is one that we applied, and not a default that a webhook set."""
    return owns(owners(at(before, "metadata", "managedFields")).ours, _QUEUE_LABEL)


def _recounted(composed: Composed, before: Manifest, wanted: Mapping[str, Json]) -> Iterator[Steps]:
    if composed.kind.key == "Job":
        now, then = (number(dict(obj), "spec", "parallelism") for obj in (before, wanted))
        if _pods(before, now) != _pods(wanted, now if then is None else then):
            yield from (("spec", name) for name in ("parallelism", "completions")
                        if at(before, "spec", name) != at(dict(wanted), "spec", name))
        return
    counts = dict(_counts(before.get("spec"), ("spec",)))
    for steps, value in _counts(wanted.get("spec"), ("spec",)):
        if steps in counts and counts[steps] != value:
            yield steps


def _pods(job: Mapping[str, Json], parallelism: int | None) -> int:
    """How many pods of a Job run at a time: Kueue's own count."""
    most = 1 if parallelism is None else parallelism
    completions = number(dict(job), "spec", "completions")
    return most if completions is None else min(most, completions)


def _counts(value: Json, steps: Steps) -> Iterator[tuple[Steps, Json]]:
    if isinstance(value, dict):
        for name, item in value.items():
            if name in _COUNTS and not isinstance(item, dict | list):
                yield (*steps, name), item
            else:
                yield from _counts(item, (*steps, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _counts(item, (*steps, index))
