"""The backend type `runai`."""

from collections.abc import Iterator, Mapping

from jobform.backends.remote import RemoteType
from jobform.backends.runai import jobs_wire, workloads_wire
from jobform.backends.runai.jobs import JobsBackend
from jobform.backends.runai.site import Site
from jobform.backends.runai.workloads import WorkloadsBackend
from jobform.model.units import parse_quantity
from jobform.model.values import Json, Path
from jobform.protocols import Arranged, Backend, Claim, Complaint, Place, Spot, Written

_KEYS: Mapping[str, frozenset[str]] = {"jobs": jobs_wire.KEYS, "workloads": workloads_wire.KEYS}
_OTHER: Mapping[str, str] = {"jobs": "workloads", "workloads": "jobs"}
_NAMES: Mapping[str, str] = {"jobs": "the job API (`api: jobs`)", "workloads": "the workloads API (`api: workloads`)"}
_LEAST_GPU_MEMORY = 100_000_000


def _opened(settings: Mapping[str, Json], place: Place) -> Backend:
    site = Site(settings, place)
    return WorkloadsBackend(site, place) if site.api == "workloads" else JobsBackend(site, place)


class RunaiType(RemoteType):
    """`protocols.Arranging` as well: which keys there are depends on the API that the block names."""

    def arrange(self, spec: dict[str, Json], settings: Mapping[str, Json], written: Written) -> Arranged:
        """The spec as it is, with what the schema cannot say: it does not know the API, and compares no two values."""
        del written
        api = "workloads" if settings.get("api") == "workloads" else "jobs"
        name = spec.get("job_name")
        claims = (Claim(f"job {name}", f"the Run:ai job {name!r}", Spot(("job_name",))),) if isinstance(name, str) else ()
        return Arranged(spec, complaints=(*_foreign(spec, api), *_values(spec), *_warnings(spec, api)), claims=claims)


def _foreign(spec: Mapping[str, Json], api: str) -> Iterator[Complaint]:
    """Keys and values that only the other API has."""
    for key in spec:
        if key not in _KEYS[api] and key in _KEYS[_OTHER[api]]:
            yield _lacking((key,), key, api)
    for key, part, where in (("ports", "auto_generate", "jobs"), ("pvc", "claim_name", "workloads")):
        for index, item in enumerate(_items(spec, key)):
            if part in item and where != api:
                yield _lacking((key, index, part), part, api)
    resources = spec.get("resources")
    if api == "jobs" and isinstance(resources, dict) and "extended" in resources:
        yield _lacking(("resources", "extended"), "extended", api)
    if api == "workloads":
        if spec.get("service_type") in ("portforward", "ingress"):
            yield _complain(("service_type",), "bad_value", f"{_NAMES[api]} of Run:ai has no service_type {spec['service_type']}",
                            "it has nodeport and loadbalancer")
        for index, item in enumerate(_items(spec, "pvc")):
            size = item.get("size")
            if isinstance(size, str) and size[-1:].lower() == "b":
                hint = f"write {size[:-1]}"
                yield _complain(("pvc", index, "size"), "bad_quantity", f"{_NAMES[api]} of Run:ai takes no unit B", "", hint)


def _values(spec: Mapping[str, Json]) -> Iterator[Complaint]:
    """Two values that do not go together, and one that is too small."""
    runs, wanted = spec.get("parallelism"), spec.get("completions")
    if isinstance(runs, int) and isinstance(wanted, int) and runs > wanted >= 1:
        yield _complain(("parallelism",), "out_of_range", f"parallelism {runs} is more than completions {wanted}",
                        "no more run at a time than must succeed")
    resources = spec.get("resources")
    memory = resources.get("gpu_memory") if isinstance(resources, dict) else None
    if isinstance(memory, str) and 0 < _amount(memory) < _LEAST_GPU_MEMORY:
        yield _complain(("resources", "gpu_memory"), "out_of_range", "gpu_memory must be at least 100M", f"found {memory}")


def _warnings(spec: Mapping[str, Json], api: str) -> Iterator[Complaint]:
    if api == "jobs" and spec.get("preemptible") is True and spec.get("interactive") is not True:
        yield _complain(("preemptible",), "no_effect", "preemptible has no effect on a training",
                        "the job API may always take a training's GPUs away; the key is for interactive jobs", warning=True)
    if "job_name_prefix" in spec:
        yield _complain(("job_name_prefix",), "no_effect", "job_name_prefix has no effect",
                        "a job that has a name is not given one, and jobform names every job", "job_name chooses the name",
                        warning=True)


def _lacking(path: Path, key: str, api: str) -> Complaint:
    return _complain(path, "unknown_key", f"{_NAMES[api]} of Run:ai has no {key}",
                     f"only {_NAMES[_OTHER[api]]} has it", "remove it, or change `api` of the backend", at_key=True)


def _complain(
    path: Path, code: str, summary: str, detail: str = "", hint: str = "", *, at_key: bool = False, warning: bool = False,
) -> Complaint:
    return Complaint(Spot(path), code, summary, detail, hint, at_key, warning)


def _items(spec: Mapping[str, Json], key: str) -> list[dict[str, Json]]:
    """The items of a list, {} for those that are no maps."""
    value = spec.get(key)
    return [item if isinstance(item, dict) else {} for item in value] if isinstance(value, list) else []


def _amount(text: str) -> float:
    """0 for what the schema refuses anyway."""
    try:
        return parse_quantity(text)
    except ValueError:
        return 0


TYPE = RunaiType("runai", _opened)
