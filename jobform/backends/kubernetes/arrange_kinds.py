"""What an object of a manifest is: the job, a companion, or something that cannot be part of a job."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jobform.backends.kubernetes.kinds import Kind, Kinds, data
from jobform.model.suggest import suggest
from jobform.model.values import Json, is_deferred
from jobform.protocols import Complaint, Spot

Report = Callable[[Complaint], None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """kind: of a job-like object, None for a companion. name: the object's own `kind`."""

    api: str
    name: str
    kind: Kind | None


def classify(document: Json, spot: Spot, kinds: Kinds, report: Report) -> Verdict | None:
    """What a document is; None, with the reason reported, when it can be neither job nor companion."""
    if not isinstance(document, dict) or is_deferred(document):
        report(Complaint(spot, "wrong_type", "this is no Kubernetes object", "expected a map with apiVersion, kind and metadata"))
        return None
    api, name = _text(document, "apiVersion", spot, report), _text(document, "kind", spot, report)
    if not api or not name:
        return None
    if "metadata" in document and not isinstance(document["metadata"], dict):
        report(Complaint(spot.below("metadata"), "wrong_type", "metadata must be a map"))
        return None
    if not _served(api, name, spot, report):
        return None
    kind = kinds.of(api, name)
    if kind is None and not _companion(api, name, kinds, spot, report):
        return None
    return Verdict(api, name, kind)


def _text(document: Mapping[str, Json], key: str, spot: Spot, report: Report) -> str:
    value = document.get(key)
    if isinstance(value, str) and value:
        return value
    if key not in document:
        near = suggest(key, document)
        hint = f"is {near} meant?" if near else ""
        report(Complaint(spot, "missing_key", f"a Kubernetes object needs {key}", hint=hint, at_key=True))
    elif is_deferred(value):
        report(Complaint(spot.below(key), "template_not_allowed", f"{key} cannot depend on a secret or on another job's output"))
    else:
        report(Complaint(spot.below(key), "wrong_type", f"{key} must be a text"))
    return ""


def _served(api: str, name: str, spot: Spot, report: Report) -> bool:
    """Whether clusters have the API version, and the kind can succeed or stand beside what can."""
    replacement = _texts("removed").get(f"{api} {name}", _texts("removed").get(api))
    if name.startswith(("Cron", "Scheduled")):
        said = f"; {api} is not served any more either" if replacement else ""
        report(Complaint(
            spot.below("kind"), "schedule", f"a {name} is a schedule, and has no end that could be a success",
            f"jobform runs a job until it has succeeded once{said}",
            "take the job out of its template and let the scheduler of your CI run `jobform apply`",
        ))
        return False
    if replacement:
        report(Complaint(
            spot.below("apiVersion"), "removed_api", f"{api} of {name} is not served any more",
            hint=f"write apiVersion: {replacement}",
        ))
        return False
    why = _texts("refused").get(name)
    if why:
        report(Complaint(spot.below("kind"), "refused_kind", f"a {name} cannot be part of a job", why,
                         "create it apart from jobform, and refer to it"))
        return False
    return True


def _companion(api: str, name: str, kinds: Kinds, spot: Spot, report: Report) -> bool:
    """An object of a known kind in an unknown version is no companion."""
    group = api.rpartition("/")[0]
    near = next((kind for kind in kinds.all() if kind.kind == name and kind.api.rpartition("/")[0] == group), None)
    if near is None:
        return True
    report(Complaint(
        spot.below("apiVersion"), "unknown_api", f"jobform does not know {api} of {name}", f"it knows {', '.join(near.apis)}",
        f"write apiVersion: {near.apis[0]}, or add the version under `kinds:` of the backend in jobform.yaml",
    ))
    return False


def _texts(name: str) -> Mapping[str, str]:
    table = data()[name]
    assert isinstance(table, dict), "kinds.json ships with jobform"
    return table  # type: ignore[return-value]  # its tables hold texts
