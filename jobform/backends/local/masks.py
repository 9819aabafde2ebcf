"""Blanking known secrets in what is kept of a job, in every form in which programs commonly print them.

The launcher uses this module, so it needs the standard library only.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

from jobform.backends.local.proof import Value

BLANK = b"***"


class Blanks:
    """Knows the forms of some secrets: plain, base64 at any alignment, URL, JSON-escaped and hex."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets if secret for form in _forms(secret)}
        self.longest = max(map(len, forms), default=0)
        self._any = re.compile(b"|".join(re.escape(form) for form in sorted(forms, key=lambda form: (-len(form), form))))

    def blank(self, data: bytes, skip: int = 0) -> bytes:
        """The data from position `skip` on, secrets blanked; a secret across that position is blanked whole."""
        if not self.longest:
            return data[skip:]
        pieces, at = [], skip
        for match in self._any.finditer(data):
            if match.end() > skip:
                pieces += [data[at : match.start()], BLANK]
                at = match.end()
        return b"".join([*pieces, data[at:]])

    def value(self, value: Value) -> Value:
        """A JSON value with the secrets in its texts and keys blanked."""
        if not self.longest:
            return value
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, dict):
            return {self._text(key): self.value(item) for key, item in value.items()}
        return value

    def _text(self, text: str) -> str:
        return self.blank(text.encode("utf-8")).decode("utf-8", "replace")


def _forms(secret: str) -> Iterator[bytes]:
    plain = secret.encode("utf-8", "surrogateescape")
    yield plain
    for line in plain.splitlines():  # a secret of several lines is printed line by line
        if len(line) >= 6:
            yield line
    yield from (plain.hex().encode(), plain.hex().upper().encode())
    for ascii_only in (True, False):
        yield json.dumps(secret, ensure_ascii=ascii_only)[1:-1].encode("utf-8", "surrogateescape")
    yield from (quote(plain, safe="").encode(), quote(plain).encode(), quote_plus(plain).encode())
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            coded = encode(b"\0" * shift + plain)
            first = (0, 2, 3)[shift]  # characters that also carry bits of what stands before the secret
            last = (8 * (shift + len(plain))) // 6  # and after it
            if last - first >= 6:
                yield from (coded[first:last], coded[first:].rstrip(b"="), coded[first:])
