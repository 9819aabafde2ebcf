"""The order of jobs: who needs whom. Knows addresses and edges, nothing else."""

from collections.abc import Collection, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

Edges = Mapping[str, Collection[str]]
"""For each address, the addresses that it needs."""


def order(edges: Edges) -> list[str]:
    """Every address after all that it needs; among equals the given order. Raises `graphlib.CycleError`.

    Addresses that are needed but are no key of their own are left out.
    """
    ready: list[str] = []
    sorter = _sorter(edges)
    position = {address: index for index, address in enumerate(edges)}
    while sorter.is_active():
        level = sorted(sorter.get_ready(), key=position.__getitem__)
        ready += level
        sorter.done(*level)
    return ready


def cycle(edges: Edges) -> list[str] | None:
    """One cycle as `[a, b, c]` where a needs b, b needs c and c needs a, starting at its first address in the given order."""
    try:
        _sorter(edges)
    except CycleError as error:
        found: list[str] = list(reversed(error.args[1][:-1]))
        first = min(range(len(found)), key=lambda index: list(edges).index(found[index]))
        return found[first:] + found[:first]
    return None


def _sorter(edges: Edges) -> TopologicalSorter[str]:
    sorter = TopologicalSorter({address: [n for n in needed if n in edges] for address, needed in edges.items()})
    sorter.prepare()
    return sorter


def closure(edges: Edges, start: Iterable[str]) -> set[str]:
    """`start` with everything that it needs, directly or not."""
    seen: set[str] = set()
    stack = list(start)
    while stack:
        address = stack.pop()
        if address not in seen:
            seen.add(address)
            stack += edges.get(address, ())
    return seen
