"""Secrets: which ones a value refers to, where their values come from, and how they are blanked in everything that is printed."""

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

from jobform.model.errors import InputError
from jobform.model.values import Json, deferred

SECRET_PREFIX, VARIABLE_PREFIX = "JOBFORM_SECRET_", "JOBFORM_VAR_"
SHORTEST = 6
"""A secret has at least this many characters: blanking shorter ones would blank ordinary text."""

_LARGEST_FILE = 1 << 20
_MASK = "***"


def environment_variable(name: str) -> str:
    """The variable that holds a secret. The name of a sensitive variable is that of its own: `JOBFORM_VAR_token`."""
    return name if name.startswith(VARIABLE_PREFIX) else SECRET_PREFIX + name


def secret_names(value: Json) -> frozenset[str]:
    """The names of the secrets and sensitive variables (`JOBFORM_VAR_token`) that the `{expr, with}` in a value refer to."""
    return frozenset(name for _, kept in deferred(value) for name in _names(kept))


def _names(kept: Mapping[str, Json]) -> Iterator[str]:
    text, known = kept["expr"], kept["with"]
    assert isinstance(text, str) and isinstance(known, dict), "the shape of a deferred value"
    if "secret" not in text and "var" not in text:
        return
    from jobform.config.sandbox import TemplateFault
    from jobform.config.template import split

    try:
        pieces = split(text)
    except TemplateFault:
        return  # a text that cannot be read was reported where it was rendered
    for read in (read for piece in pieces if not isinstance(piece, str) for read in piece.reads):
        if read.root == "secret":
            yield read.name
        elif read.root == "var" and str(read) not in known:
            yield VARIABLE_PREFIX + read.name


def lookup(environ: Mapping[str, str]) -> Callable[[str], str | None]:
    """A function from a secret's name to its value, None if the environment has none.

    `JOBFORM_SECRET_NAME` holds the value, or `JOBFORM_SECRET_NAME_FILE` names a file that does, whose last line break is cut.
    Sensitive variables have `JOBFORM_VAR_NAME` and `JOBFORM_VAR_NAME_FILE`, as the name is written or in upper case. The
    function raises InputError, which names the variable and shows no value, for a file that cannot be read and for a value
    that is too short.
    """

    def value_of(name: str) -> str | None:
        variable = environment_variable(name)
        for candidate in dict.fromkeys((variable, variable.upper())):
            value = _value(environ, candidate)
            if value is not None:
                if len(value) < SHORTEST:
                    raise _error(candidate, f"holds fewer than {SHORTEST} characters",
                                 "so short a value cannot be blanked in what is printed", "use a longer secret, or a plain value")
                return value
        return None

    return value_of


def known_values(environ: Mapping[str, str], sensitive: Iterable[str] = ()) -> tuple[str, ...]:
    """The values of all secrets that the environment holds, to be blanked in what is printed. sensitive: variables.

    Values that are too short, and files that cannot be read, are passed by: using them is an error.
    """
    variables = {VARIABLE_PREFIX + name for name in sensitive}
    names = {
        *(key.removesuffix("_FILE") for key in environ if key.startswith(SECRET_PREFIX)),
        *(key for key in environ if key.startswith(SECRET_PREFIX)),
        *(key.removesuffix("_FILE") for key in environ if key.startswith(VARIABLE_PREFIX) and key.endswith("_FILE")),
        *variables, *(name.upper() for name in variables),
    }
    found = set()
    for name in names:
        try:
            value = _value(environ, name)
        except InputError:
            continue
        if value is not None and len(value) >= SHORTEST:
            found.add(value)
    return tuple(sorted(found))


def _value(environ: Mapping[str, str], variable: str) -> str | None:
    """The value of a variable or of the file that its `_FILE` names. Raises InputError."""
    if variable in environ:
        return environ[variable]
    file = environ.get(f"{variable}_FILE")
    if file is None:
        return None
    try:
        with Path(file).open("rb") as stream:
            data = stream.read(_LARGEST_FILE + 1)
        if len(data) > _LARGEST_FILE:
            raise _error(f"{variable}_FILE", "names a file of more than 1 MiB")
        text = data.decode("utf-8")
    except OSError as error:
        raise _error(f"{variable}_FILE", f"names a file that cannot be read: {error.strerror or 'input/output error'}") from None
    except ValueError:
        raise _error(f"{variable}_FILE", "names a file that is not UTF-8 text, or none at all") from None
    return text.removesuffix("\n").removesuffix("\r")


def _error(variable: str, summary: str, detail: str = "", hint: str = "") -> InputError:
    error = InputError.of("bad_secret", f"{variable} {summary}", detail=detail, hint=hint)
    assert isinstance(error, InputError)
    return error


class Masker:
    """Blanks known values in text, also in the forms in which programs print them: base64, URL, JSON-escaped and hex."""

    def __init__(self, values: Iterable[str]) -> None:
        """Raises ValueError for a value of fewer than `SHORTEST` characters, without showing it."""
        forms: set[str] = set()
        for value in values:
            if len(value) < SHORTEST:
                raise ValueError(f"a secret has at least {SHORTEST} characters")
            forms.update(form for form in _forms(value) if len(form) >= SHORTEST)
        self.longest = max(map(len, forms), default=0)
        """The length of the longest form."""
        ordered = sorted(forms, key=lambda form: (-len(form), form))
        self._any = re.compile("|".join(map(re.escape, ordered))) if forms else None

    def mask(self, text: str) -> str:
        """The text with every known value as `***`."""
        return text if self._any is None else self._any.sub(_MASK, text)

    def stream(self) -> "MaskedText":
        """A masker for text that arrives in pieces."""
        return MaskedText(self)

    def cut(self, text: str) -> tuple[str, str]:
        """The masked part of a text to which nothing that follows can matter, and the rest as it is."""
        if self._any is None:
            return text, ""
        end = max(0, len(text) - self.longest + 1)
        pieces, position = [], 0
        for match in self._any.finditer(text):
            if match.start() >= end:
                break
            pieces += [text[position:match.start()], _MASK]
            position = match.end()
        end = max(end, position)
        return "".join([*pieces, text[position:end]]), text[end:]


class MaskedText:
    """Masks a stream; what could be the start of a known value is held back until more text has come."""

    def __init__(self, masker: Masker) -> None:
        self._masker = masker
        self._held = ""

    def feed(self, text: str) -> str:
        """What can be shown now."""
        shown, self._held = self._masker.cut(self._held + text)
        return shown

    def finish(self) -> str:
        """The rest, at the end of the stream."""
        held, self._held = self._held, ""
        return self._masker.mask(held)


def _forms(value: str) -> Iterator[str]:
    """Every text that gives the value away."""
    data = value.encode("utf-8", "surrogateescape")
    yield value
    yield from (line for line in value.splitlines() if len(line.strip()) >= SHORTEST)
    for ascii_only in (True, False):
        yield json.dumps(value, ensure_ascii=ascii_only)[1:-1]
    for encoded in (quote(data, safe=""), quote(data), quote_plus(data)):
        yield encoded
        yield re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), encoded)
    yield from (data.hex(), data.hex().upper())
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(data).decode().rstrip("=")
        for before in range(3):
            yield _inner(encode(bytes(before) + data).decode().rstrip("="), before, len(data))


def _inner(encoded: str, before: int, size: int) -> str:
    """The base64 digits that depend on the value alone, when `before` other bytes stand before it and any may follow."""
    return encoded[-(-before * 8 // 6):(before + size) * 8 // 6]
