"""Did you mean: the one known word that a mistyped word is nearest to."""

from collections.abc import Iterable
from difflib import SequenceMatcher

_LONGEST = 80
_MOST = 20_000


def suggest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that `word` was most likely meant to be, None if none is near.

    Case, dashes and underscores are looked through first, then spelling. Cost is bounded whatever the sizes.
    """
    if not word or len(word) > _LONGEST:
        return None
    folded = _fold(word)
    best, best_ratio = None, 0.0
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(folded)
    for number, choice in enumerate(choices):
        if number >= _MOST:
            break
        if choice == word:
            continue
        other = _fold(choice)
        if other == folded:
            return choice
        if abs(len(other) - len(folded)) > max(2, len(folded) // 2):
            continue
        matcher.set_seq1(other)
        floor = max(best_ratio, 0.6)
        if matcher.real_quick_ratio() > floor and matcher.quick_ratio() > floor and matcher.ratio() > floor:
            best, best_ratio = choice, matcher.ratio()
    return best


def _fold(word: str) -> str:
    return word.lower().replace("-", "").replace("_", "")
