"""A text stream that blanks known secrets before anything leaves the process."""

from collections.abc import Mapping
from typing import TextIO, cast

from jobform.config.secrets import Masker, known_values


class MaskedStream:
    """Writes masked text to another stream. Every write is whole lines or a prompt, so no secret is cut in two here."""

    def __init__(self, stream: TextIO, masker: Masker) -> None:
        self._stream = stream
        self._masker = masker

    def write(self, text: str) -> int:
        return self._stream.write(self._masker.mask(text))

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def masked(stream: TextIO, environ: Mapping[str, str]) -> TextIO:
    """The stream behind a mask for every secret that the environment holds."""
    return cast("TextIO", MaskedStream(stream, Masker(known_values(environ))))
