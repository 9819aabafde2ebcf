"""Credentials from the environment: the value of a variable, or of the file that `NAME_FILE` names."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, local

from jobform.model.errors import BackendError

_MOST = 64 << 10
"""Bytes of a file with a key: more is some other file."""


@dataclass(frozen=True, slots=True)
class Key:
    """value: what is sent, safe in a header. source: where it comes from, for people."""

    value: str = field(repr=False)
    source: str

    @property
    def fingerprint(self) -> str:
        """Eight hex digits that tell this key from another. So few are of no use to whoever looks for the key."""
        return hashlib.sha256(f"jobform {self.value}".encode()).hexdigest()[:8]


def read_key(environ: Mapping[str, str], names: Sequence[str], what: str) -> Key:
    """The first of these variables that is set, itself or as `NAME_FILE`. what: whose key it is, for people.

    A file is read at every call, so that a key that was changed there is used. Raises BackendError for none, for a file that
    cannot be read, and for what cannot stand in a header.
    """
    for name in names:
        if value := environ.get(name, "").strip():
            return _checked(value, name)
        if file := environ.get(f"{name}_FILE", ""):
            return _checked(_read(Path(file), f"{name}_FILE"), f"the file of {name}_FILE")
    raise BackendError(f"there is no key for {what}", f"set {' or '.join(names)}, or {names[0]}_FILE to a file that holds it")


class HeldKey:
    """The key of one client: read when it is first wanted, and again when the service refuses it. For several threads."""

    def __init__(self, environ: Mapping[str, str], names: Sequence[str], what: str) -> None:
        """As `read_key`."""
        self._environ, self._names, self._what = environ, names, what
        self._key: Key | None = None
        self._lock = Lock()
        self._mine = local()

    @property
    def source(self) -> str:
        """Where the key comes from, for people; where it is expected while there is none."""
        return self._key.source if self._key else self._names[0]

    def key(self) -> Key:
        """The key to send now. Raises BackendError when there is none."""
        with self._lock:
            if self._key is None:
                self._key = read_key(self._environ, self._names, self._what)
            self._mine.sent = self._key
            return self._key

    def renew(self) -> bool:
        """What this thread sent last was refused: whether there is another key by now. Raises BackendError as `key`."""
        sent = getattr(self._mine, "sent", None)
        with self._lock:
            if self._key == sent:  # else another thread has read the file since
                self._key = read_key(self._environ, self._names, self._what)
            return self._key != sent


def _read(path: Path, variable: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST + 1)
    except OSError as error:
        raise BackendError(f"the file that {variable} names cannot be read", f"{path}: {error.strerror or error}") from error
    if len(data) > _MOST:
        raise BackendError(f"the file that {variable} names is too large for a key", str(path))
    return data.decode("utf-8", "replace").strip()


def _checked(value: str, source: str) -> Key:
    if not value:
        raise BackendError(f"{source} is empty")
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise BackendError(f"{source} holds no key", "a key is one line of ASCII letters, digits and signs, without blanks")
    return Key(value, source)
