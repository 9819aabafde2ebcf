"""The environment of a composed Job: the user's variables, those of the launcher of several processes, and secrets."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from jobform.backends.kubernetes.compose_values import Trace, literal, mapping, text, whole
from jobform.model.errors import BackendError
from jobform.model.values import Json, Path, is_deferred
from jobform.protocols import Mark

CONTAINER: Path = ("spec", "template", "spec", "containers", "[name=main]")
MASTER_PORT = 29500
"""The port that torchrun takes by default."""

_INDEX: dict[str, Json] = {"fieldRef": {"fieldPath": "metadata.annotations['batch.kubernetes.io/job-completion-index']"}}
_TORCHRUN = ("MASTER_ADDR", "MASTER_PORT", "NNODES", "NODE_RANK", "NPROC_PER_NODE")
"""torchrun takes each of its options from PET_ and the option's name."""

_SECRET = re.compile(r"\bsecret\s*\(")
_VARIABLE = re.compile(r"\bvar\s*(?:\.\s*([A-Za-z_][A-Za-z0-9_]*)|\[\s*['\"]([A-Za-z_][A-Za-z0-9_]*)['\"]\s*\])")


@dataclass(frozen=True, slots=True)
class Environment:
    """entries: the container's `env`, each name once. secret: what the Secret of the attempt holds, by name."""

    entries: list[Json]
    secret: Mapping[str, str]


def environment(spec: Mapping[str, Json], described: Mapping[str, Json], mark: Mark, trace: Trace) -> Environment:
    """The variables of the main container. described: tells by its `{expr, with}` which values are secret.

    Raises BackendError for a variable that both `env` and `secrets` set.
    """
    plain, shown, stored = mapping(spec.get("env")), mapping(described.get("env")), mapping(spec.get("secrets"))
    for name in plain.keys() & stored.keys():
        raise BackendError(f"env and secrets both set {name}", "A variable has one value.")
    found: dict[str, Json] = {name: _plain(value) for name, value in _given(mark).items()}
    for name, source in _distributed(spec, mark):
        found[name] = source
        _note(trace, name, "nodes" if "nodes" in spec else "processes_per_node")
    secret: dict[str, str] = {}
    for name, value in plain.items():
        if holds_secret(shown.get(name)):
            secret[name] = text(value)
            found[name] = {"valueFrom": {"secretKeyRef": {"name": mark.name, "key": name}}}
        else:
            found[name] = _plain(value)
        _note(trace, name, "env", name)
    for name, reference in stored.items():
        held = mapping(reference)
        found[name] = {"valueFrom": {"secretKeyRef": {"name": text(held.get("name")), "key": text(held.get("key"))}}}
        _note(trace, name, "secrets", name)
    return Environment([{"name": name, **mapping(source)} for name, source in found.items()], secret)


def holds_secret(value: Json) -> bool:
    """Whether a value is an `{expr, with}` that reads a secret or a sensitive variable, not only outputs of other jobs."""
    if not is_deferred(value):
        return False
    expression, known = text(value["expr"]), mapping(value["with"])
    if _SECRET.search(expression):
        return True
    named = (dotted or quoted for dotted, quoted in _VARIABLE.findall(expression))
    return "var" not in known and any(f"var.{name}" not in known for name in named)


def node_count(spec: Mapping[str, Json]) -> int:
    """How many pods run the command together; 1 while that is not known."""
    return whole(spec.get("nodes")) or 1


def _given(mark: Mark) -> dict[str, str]:
    """What every backend of this vocabulary gives its programs."""
    return {
        "JOBFORM_ADDRESS": mark.address, "JOBFORM_ATTEMPT": str(mark.attempt), "JOBFORM_NAME": mark.name,
        "JOBFORM_OUTPUT": "/dev/termination-log",
    }


def _plain(value: Json) -> dict[str, Json]:
    """A variable's value; the server stores an empty one as none at all."""
    written = literal(value)
    return {"value": written} if written else {}


def _distributed(spec: Mapping[str, Json], mark: Mark) -> Iterator[tuple[str, Json]]:
    """Where the processes meet, how many they are and which one this is, for torchrun and for programs that ask themselves."""
    if "nodes" not in spec and "processes_per_node" not in spec:
        return
    nodes, processes = node_count(spec), whole(spec.get("processes_per_node")) or 1
    rank: dict[str, Json] = {"valueFrom": _INDEX} if nodes > 1 else {"value": "0"}
    values: dict[str, Json] = {
        "MASTER_ADDR": {"value": f"{mark.name}-0.{mark.name}" if nodes > 1 else "127.0.0.1"},
        "MASTER_PORT": {"value": str(MASTER_PORT)},
        "NNODES": {"value": str(nodes)},
        "NODE_RANK": rank,
        "NPROC_PER_NODE": {"value": str(processes)},
        "WORLD_SIZE": {"value": str(nodes * processes)},
    }
    if processes == 1:
        values["RANK"] = rank  # of several processes each has its own, from whatever starts them
    yield from values.items()
    yield from ((f"PET_{name}", values[name]) for name in _TORCHRUN)


def _note(trace: Trace, name: str, *spec_path: str) -> None:
    trace.note((*CONTAINER, "env", f"[name={name}]"), *spec_path)
