"""Bytes to text: what a file may consist of, before anything reads it as YAML."""

import re

from jobform.config.document import Document
from jobform.config.findings import Findings
from jobform.model.diagnostic import Range

MAX_BYTES = 16 * 1024 * 1024 - 1
"""The largest file that is read; offsets within it fit into a span."""

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff\ufeff]")
_INVISIBLE = re.compile("[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufff9-\ufffb\U000e0000-\U000e007f]")
_LINE_SEPARATORS = {"\x85": "U+0085 (next line)", "\u2028": "U+2028 (line separator)", "\u2029": "U+2029 (paragraph separator)"}
_WIDE_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32", b"\x00\x00\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16",
}
_UTF8_MARK = b"\xef\xbb\xbf"
_PLAIN_BYTES = bytes([9, 10, 13, *range(32, 127)])
_SHOWN = 20


def decode(file: str, data: bytes, findings: Findings) -> str | None:
    """The text of a file, without its byte order mark; None, with an error noted, if it cannot be YAML of ours."""
    if len(data) > MAX_BYTES:
        findings.error("file_too_large", f"{file} is larger than {(MAX_BYTES + 1) >> 20} MiB", Range(file, 1, 1, 1, 1),
                       hint="split it into several files")
        return None
    for mark, name in _WIDE_MARKS.items():
        if data.startswith(mark):
            findings.error("not_utf8", f"{file} is {name}, not UTF-8", Range(file, 1, 1, 1, 1), hint="save it as UTF-8")
            return None
    data = data.removeprefix(_UTF8_MARK)
    if not data.translate(None, _PLAIN_BYTES):
        return data.decode("ascii")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        here = Document(file, before, None, 0).range_of(len(before), len(before))
        findings.error("not_utf8", f"{file} is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}", here,
                       hint="save it as UTF-8")
        return None
    return text if _characters(file, text, findings) else None


def _characters(file: str, text: str, findings: Findings) -> bool:
    """Whether all characters are allowed; forbidden ones are errors, invisible ones a warning."""
    page = Document(file, text, None, 0)
    clean = True
    for number, match in enumerate(_FORBIDDEN.finditer(text)):
        clean = False
        if number >= _SHOWN:
            break
        here, character = page.range_of(match.start(), match.end()), match[0]
        if character in _LINE_SEPARATORS:
            findings.error("line_separator", f"{_LINE_SEPARATORS[character]} is not allowed: YAML versions disagree about it",
                           here, hint="use a normal line break, or an escape inside double quotes")
        else:
            findings.error("control_character", f"the character U+{ord(character):04X} is not allowed in a file", here,
                           hint="remove it, or write an escape inside double quotes")
    hidden = list(_INVISIBLE.finditer(text)) if clean and not text.isascii() else []
    if hidden:
        first = hidden[0]
        findings.warning(
            "invisible_character", f"the file holds {len(hidden)} invisible character{'s' if len(hidden) > 1 else ''}, "
            f"first U+{ord(first[0]):04X}", page.range_of(first.start(), first.end()),
            detail="zero-width and bidirectional characters make text look different from what it is",
            hint="remove them, or write them as escapes inside double quotes",
        )
    return clean


def has_invisible(text: str) -> bool:
    """Whether a text holds zero-width or bidirectional characters."""
    return not text.isascii() and _INVISIBLE.search(text) is not None
