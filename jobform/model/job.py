"""What users declare: a project, its backends, its jobs and their policy, after rendering."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path as FilePath

from jobform.model.diagnostic import Diagnostic, Range
from jobform.model.values import Json, Path

Locate = Callable[[Path], Range | None]
"""Where a value of a job was written, by its path in the job's entry (`("spec", "command", 0)`); None if nobody wrote it."""


def nowhere(path: Path) -> Range | None:
    """The locator of a job that comes from the state or from a plan file."""
    del path
    return None


class When(StrEnum):
    """What a need waits for."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    FINISHED = "finished"
    STARTED = "started"


class OnChange(StrEnum):
    """What a change means for a job that is running."""

    REFUSE = "refuse"
    CANCEL = "cancel"
    FINISH = "finish"


@dataclass(frozen=True, slots=True)
class Need:
    """job: a rendered selector. addresses: the addresses that it selected when the project was read, in address order."""

    job: str
    when: When = When.SUCCEEDED
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rerun:
    """When a new attempt follows an ended one. backoff: (low, high) in seconds; max_attempts counts from the last change."""

    on: tuple[str, ...] = ("changed",)
    max_attempts: int = 3
    backoff: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Policy:
    """The keys of a job outside `spec` and `generation`."""

    needs: tuple[Need, ...] = ()
    rerun: Rerun = Rerun()
    on_change_while_running: OnChange = OnChange.REFUSE
    protect: bool = False
    ignore_drift: tuple[str, ...] = ()
    keep_objects: int = 0
    optional_keys: tuple[str, ...] = ()
    allow_plain: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """One declared unit of work, rendered and valid.

    name: the key under `jobs:`. matrix: the values of this instance, axes and included extras. axes: only the axes, as in the
    address. spec: JSON with `{expr, with}` where a secret or an output is not known yet. backend: the configured name; type:
    its type. inputs: what the content of its files is called (`model.inputs`), by their paths as the spec has them.
    """

    address: str
    name: str
    backend: str
    type: str
    spec: dict[str, Json]
    policy: Policy = Policy()
    generation: int = 1
    matrix: Mapping[str, Json] = field(default_factory=dict)
    axes: Mapping[str, Json] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    locate: Locate = field(default=nowhere, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class BackendBlock:
    """A configured backend: `settings` is its block in jobform.yaml without `type` and `defaults`, rendered."""

    name: str
    type: str
    settings: dict[str, Json]
    defaults: dict[str, Json] = field(default_factory=dict)
    range: Range | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class StoreBlock:
    """Where state is kept: `settings` is the `state:` block without `type`, rendered."""

    type: str
    settings: dict[str, Json]
    range: Range | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Move:
    """One concrete rename: both sides are full addresses."""

    source: str
    to: str
    range: Range | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Removal:
    """A `removed:` entry: a selector; cancel says whether a live run may be stopped."""

    job: str
    cancel: bool
    range: Range | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class MoveRule:
    """A `moved:` entry as written: NAME or NAME[k=v] on both sides. It becomes `Move`s when state is known."""

    source: str
    to: str
    range: Range | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """What jobform.yaml says, for one target, without reading any job file."""

    directory: FilePath
    project: str
    target: str | None
    lineage: str | None
    state: StoreBlock
    backends: Mapping[str, BackendBlock]
    variables: Mapping[str, Json]
    sensitive: frozenset[str] = frozenset()
    files: tuple[str, ...] = ("jobs/*.yaml",)
    warnings: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True, slots=True)
class Project:
    """Everything that the project's files say, for one target. jobs: by address, in address order."""

    settings: Settings
    jobs: Mapping[str, Job]
    moved: tuple[MoveRule, ...] = ()
    removed: tuple[Removal, ...] = ()
    warnings: tuple[Diagnostic, ...] = ()
