"""References to attempts: what a state holds of an object in a cluster. A state may come from anywhere, so all is checked."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jobform.model.errors import BackendError
from jobform.model.values import Json
from jobform.protocols import Ref

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_API = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?v[a-z0-9]{1,62}")
_KIND = re.compile(r"[A-Z][A-Za-z0-9]{0,62}")
_UID = re.compile(r"[A-Za-z0-9-]{1,128}")
_HEX = re.compile(r"[0-9a-f]{16}")
_GENERATED = re.compile(r"[a-z][a-z0-9-]*-[0-9a-f]{8}-[0-9]+")


@dataclass(frozen=True, slots=True)
class Companion:
    """An object beside a workload, as it was when it was applied."""

    api: str
    kind: str
    name: str
    uid: str

    @property
    def value(self) -> Json:
        return [self.api, self.kind, self.name, self.uid]

    @classmethod
    def of(cls, value: Json) -> "Companion":
        """Raises ValueError for what is none."""
        if not isinstance(value, list) or len(value) != 4 or not all(isinstance(part, str) for part in value):
            raise ValueError("a companion is [apiVersion, kind, name, uid]")
        api, kind, name, uid = (str(part) for part in value)
        if not (_API.fullmatch(api) and _KIND.fullmatch(kind) and is_name(name) and _UID.fullmatch(uid)):
            raise ValueError("a companion is [apiVersion, kind, name, uid]")
        return cls(api, kind, name, uid)


@dataclass(frozen=True, slots=True)
class JobRef:
    """One attempt's workload. lineage: the 16 hex digits of its label, by which it is listed."""

    api: str
    kind: str
    namespace: str
    name: str
    uid: str
    lineage: str
    companions: tuple[Companion, ...] = ()

    @property
    def ref(self) -> Ref:
        return Ref.of({
            "api": self.api, "kind": self.kind, "namespace": self.namespace, "name": self.name, "uid": self.uid,
            "lineage": self.lineage, "companions": [companion.value for companion in self.companions],
        })

    @classmethod
    def parse(cls, ref: Ref) -> "JobRef":
        """Raises BackendError for what is no reference of this backend."""
        value = ref.value
        try:
            if not isinstance(value, dict):
                raise ValueError("it is no map")
            listed = value.get("companions", [])
            return cls(
                _part(value, "api", _API), _part(value, "kind", _KIND), _part(value, "namespace", _NAME),
                _part(value, "name", _NAME), _part(value, "uid", _UID), _part(value, "lineage", _HEX),
                tuple(Companion.of(item) for item in (listed if isinstance(listed, list) else [])),
            )
        except ValueError as error:
            raise BackendError("this is no reference to an object of a cluster", f"{error}: {ref.text[:200]}") from error

    def belongs(self, companion: Companion) -> bool:
        """Whether a companion is this attempt's alone: it has the workload's name, and that name is of our making.

        A manifest's companions keep their own names, and are shared by the attempts of their job.
        """
        return companion.name == self.name and _GENERATED.fullmatch(self.name) is not None

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


def parsed(refs: Iterable[Ref]) -> Iterator[JobRef]:
    """Those of them that are of this backend: a block of another type may have had its name before."""
    for ref in refs:
        try:
            yield JobRef.parse(ref)
        except BackendError:
            continue


def is_name(name: str) -> bool:
    """Whether a text can be the name of an object, and so a part of a path."""
    return len(name) <= 253 and _NAME.fullmatch(name) is not None


def _part(value: dict[str, Json], key: str, form: re.Pattern[str]) -> str:
    part = value.get(key)
    if not isinstance(part, str) or not form.fullmatch(part):
        raise ValueError(f"its {key} is none")
    return part
