"""Kubeconfig files, merged as kubectl merges them: of each name, and of `current-context`, the first file that has it decides.

The `kubernetes` package has a reader too. It imports half a second of models, and decides otherwise: the last `current-context`
wins, `proxy-url` and impersonation are lost. It is asked only for what it alone does: an `auth-provider`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jobform.clients.kube.errors import KubeError
from jobform.clients.text import short
from jobform.model.suggest import suggest

_CAP = 16 << 20
"""Bytes: a file beyond this is no kubeconfig."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A named cluster, user or context. folder: of its file, to which paths in it are relative."""

    name: str
    content: Mapping[str, object] = field(repr=False)
    folder: Path

    def text(self, key: str) -> str:
        """A text, "" when there is none. Raises KubeError for what is no text; the value is not told."""
        value = self.content.get(key)
        if isinstance(value, dict | list):
            raise refused(f"{key} of {short(self.name, 80)} in the kubeconfig is no text")
        return value if isinstance(value, str) else "" if value is None else str(value)

    def file(self, key: str) -> Path | None:
        """The path under a key, made absolute."""
        named = self.text(key)
        return self.folder / named if named else None


@dataclass(slots=True)
class Kubeconfig:
    """What all files say together. shown: the files, for people."""

    shown: str
    current: str = ""
    clusters: dict[str, Entry] = field(default_factory=dict)
    users: dict[str, Entry] = field(default_factory=dict)
    contexts: dict[str, Entry] = field(default_factory=dict)

    def context(self, name: str) -> Entry:
        """Raises KubeError for a name that no file has."""
        return self._named("context", self.contexts, name)

    def cluster(self, name: str) -> Entry:
        """Raises KubeError for a name that no file has."""
        return self._named("cluster", self.clusters, name)

    def user(self, name: str) -> Entry:
        """The user, without credentials when no file has it: a server may want none."""
        return self.users.get(name) or Entry(name, {}, Path())

    def _named(self, what: str, entries: Mapping[str, Entry], name: str) -> Entry:
        found = entries.get(name)
        if found is None:
            near = suggest(name, entries)
            listed = ", ".join(short(each, 80) for each in sorted(entries)[:20])
            hint = f"did you mean {short(near, 80)}? " if near else ""
            raise refused(f"{self.shown} has no {what} {short(name)}", f"{hint}it has: {listed or 'none'}")
        return found


def read_kubeconfig(paths: Iterable[Path], shown: str) -> Kubeconfig:
    """Raises KubeError with reason `Credentials` for a file that cannot be read or is no kubeconfig, and when all are empty."""
    merged, empty = Kubeconfig(shown), True
    for path in paths:
        content = _load(path)
        if content is None:
            continue
        empty = False
        merged.current = merged.current or str(content.get("current-context") or "")
        folder = path.absolute().parent
        for kind, entries in (("cluster", merged.clusters), ("user", merged.users), ("context", merged.contexts)):
            for name, inner in _entries(path, content, kind):
                entries.setdefault(name, Entry(name, inner, folder))
    if empty:
        raise refused(f"{shown} is empty")
    return merged


def refused(message: str, hint: str = "") -> KubeError:
    """The error of everything that keeps us from having credentials."""
    return KubeError(0, "Credentials", message, hint=hint)


def _load(path: Path) -> Mapping[str, object] | None:
    import yaml

    try:
        with path.open("rb") as file:
            data = file.read(_CAP + 1)
        text = data.decode("utf-8")
        content = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if len(data) <= _CAP else ()  # noqa: S506  # a safe loader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise _unusable(path, f"not YAML, line {mark.line + 1}" if mark else "not YAML") from error
    except UnicodeDecodeError as error:
        raise _unusable(path, "it is no text in UTF-8") from error
    except (OSError, RecursionError, ValueError) as error:
        raise _unusable(path, getattr(error, "strerror", None) or "its content is not that of a kubeconfig") from error
    if content is None:
        return None
    if not isinstance(content, dict):
        raise _unusable(path, "its content is not that of a kubeconfig")
    return content


def _entries(path: Path, content: Mapping[str, object], kind: str) -> Iterable[tuple[str, Mapping[str, object]]]:
    listed = content.get(f"{kind}s") or []
    if not isinstance(listed, list):
        raise _unusable(path, "its content is not that of a kubeconfig")
    for entry in listed:
        name = entry.get("name") if isinstance(entry, dict) else None
        inner = entry.get(kind) if isinstance(entry, dict) else None
        if name is None or not isinstance(inner, dict | None):
            raise _unusable(path, "its content is not that of a kubeconfig")
        yield str(name), inner or {}


def _unusable(path: Path, why: str) -> KubeError:
    return refused(f"{path} cannot be used: {why}")
