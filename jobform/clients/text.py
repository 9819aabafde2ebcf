"""Text of a server, made short and harmless: no control characters, no dumps of whole objects."""

import string

_LONGEST = 400
_TYPE_NAME = string.ascii_letters + string.digits + "_.[]/-&*"


def short(text: object, limit: int = _LONGEST, *, dump: int = 60) -> str:
    """One line of at most `limit` characters. What stands in braces and is longer than `dump` becomes `{...}`.

    API servers put Go or JSON dumps of whole pod templates, environment included, into messages about one field.
    """
    line = " ".join(_printable(without_dumps(str(text), dump)).split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


def without_dumps(text: str, dump: int) -> str:
    """The text with every outermost `{...}` longer than `dump` characters, and the type name before it, replaced by `{...}`."""
    kept: list[str] = []
    position = 0
    while (start := text.find("{", position)) >= 0:
        end = _closing(text, start)
        if end - start <= dump:
            kept.append(text[position:end])
        else:
            kept.append(text[position:start].rstrip(_TYPE_NAME) + "{...}")
        position = end
    return "".join(kept) + text[position:]


def excerpt(body: bytes, limit: int = 200) -> str:
    """The first characters of bytes that should not be there."""
    return short(body[: 4 * limit].decode("utf-8", "replace"), limit, dump=limit)


def _closing(text: str, start: int) -> int:
    """The position after the brace that closes the one at `start`; the end of the text when none does."""
    depth, quoted, escaped = 0, False, False
    for position in range(start, len(text)):
        character = text[position]
        if escaped:
            escaped = False
        elif quoted:
            escaped = character == "\\"
            quoted = character != '"'
        elif character == '"':
            quoted = True
        elif character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                return position + 1
    return len(text)


def _printable(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else f"\\x{ord(c):02x}" for c in text)
