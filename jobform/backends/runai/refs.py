"""References to jobs of the job API: the name alone may be another job's tomorrow."""

from dataclasses import dataclass

from jobform.backends.runai.jobs_wire import View
from jobform.model.errors import BackendError
from jobform.protocols import Ref

_LONGEST = 500


@dataclass(frozen=True, slots=True)
class JobRef:
    """One job of a project. id: the service's own, another one for every job."""

    project: str
    name: str
    id: str


def as_ref(found: View) -> Ref:
    return Ref.of({"project": found.project, "name": found.name, "id": found.id})


def job_ref(ref: Ref) -> JobRef:
    """Raises BackendError for what this backend did not make: a state file may come from anywhere."""
    value = ref.value
    parts = [value.get(key) for key in ("project", "name", "id")] if isinstance(value, dict) else []
    texts = [part for part in parts if isinstance(part, str) and part and len(part) <= _LONGEST and part.isprintable()]
    if len(texts) != 3:
        raise BackendError("this is no reference of this backend", ref.text[:200])
    return JobRef(*texts)
