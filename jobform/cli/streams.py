"""The standard streams as commands write to them: masked, in characters that they can carry, quiet when they break."""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TextIO, cast

from jobform.views.escape import encodable


class OutputLostError(Exception):
    """Standard output cannot be written any more. `reason` is "" when its reader has left, as `head` does."""

    def __init__(self, error: OSError) -> None:
        self.reason = "" if isinstance(error, BrokenPipeError) else error.strerror or str(error)
        super().__init__(self.reason)


def give_up(lost: OutputLostError) -> None:
    """For a command that only shows something: it has nothing more to do."""
    raise lost


def go_on(lost: OutputLostError) -> None:
    """For words that a command does not depend on."""
    del lost


class Output:
    """A text stream around another one. Every write is whole lines or a prompt, so no secret is cut in two.

    When the stream breaks, `on_lost` is called once and what is written from then on goes nowhere.
    """

    def __init__(self, stream: TextIO, mask: Callable[[str], str], on_lost: Callable[[OutputLostError], None]) -> None:
        self._stream, self._mask = stream, mask
        self.on_lost = on_lost
        self.lost: OutputLostError | None = None

    def write(self, text: str) -> int:
        if self.lost is None:
            try:
                self._stream.write(encodable(self._mask(text), self._stream.encoding))
            except OSError as error:
                self._lose(error)
        return len(text)

    def flush(self) -> None:
        if self.lost is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._lose(error)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def _lose(self, error: OSError) -> None:
        self.lost = OutputLostError(error)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, self._stream.fileno())  # what is still buffered: the interpreter would fail on it at its end
        except (OSError, ValueError):  # no descriptor behind it: nothing will be flushed either
            pass
        finally:
            os.close(nowhere)
        self.on_lost(self.lost)


class Mask:
    """Blanks every secret that the environment holds, and the sensitive variables once the project has named them."""

    def __init__(self, environ: Mapping[str, str], sensitive: Callable[[], Iterable[str]]) -> None:
        self._environ, self._sensitive = environ, sensitive
        self._relevant = any(name.startswith(("JOBFORM_SECRET_", "JOBFORM_VAR_")) for name in environ)
        self._names: frozenset[str] | None = None
        self._mask: Callable[[str], str] = str

    def __call__(self, text: str) -> str:
        if not self._relevant:
            return text
        names = frozenset(self._sensitive())
        if names != self._names:
            from jobform.config.secrets import Masker, known_values  # only where there is something to blank

            self._names, self._mask = names, Masker(known_values(self._environ, names)).mask
        return self._mask(text)


def as_text(stream: Output) -> TextIO:
    """For whoever wants a `TextIO`: everything that `Output` does not have itself is the stream's own."""
    return cast("TextIO", stream)
