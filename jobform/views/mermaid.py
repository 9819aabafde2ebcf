"""The dependency graph as a Mermaid flowchart."""

from collections.abc import Collection, Mapping

from jobform.views.escape import terminal

_STYLES: Mapping[str, str] = {
    "succeeded": "fill:#d4f4dd,stroke:#2b8a3e", "failed": "fill:#ffe0e0,stroke:#c92a2a",
    "cancelled": "fill:#fff3bf,stroke:#e67700", "running": "fill:#d0ebff,stroke:#1864ab",
    "pending": "fill:#f1f3f5,stroke:#495057", "held": "fill:#f3d9fa,stroke:#862e9c",
}


def mermaid(edges: Mapping[str, Collection[str]], status: Mapping[str, str]) -> str:
    """A flowchart with an arrow from each needed address to the one that needs it.

    edges: address -> the addresses that it needs. status: address -> phase (or `held`), for the colours; others stay plain.
    """
    addresses = dict.fromkeys([*edges, *(needed for needs in edges.values() for needed in needs)])
    names = {address: f"n{position}" for position, address in enumerate(addresses)}
    lines = ["flowchart LR"]
    lines += [f'  {name}["{_label(address)}"]' for address, name in names.items()]
    lines += [f"  {names[needed]} --> {names[address]}" for address, needs in edges.items() for needed in needs]
    used = [word for word in _STYLES if word in status.values()]
    lines += [f"  classDef {word} {_STYLES[word]}" for word in used]
    for word in used:
        members = [names[address] for address in names if status.get(address) == word]
        if members:
            lines.append(f"  class {','.join(members)} {word}")
    return "\n".join(lines) + "\n"


def _label(text: str) -> str:
    """Inside double quotes Mermaid reads `#35;` as the character of that number: everything special is written so."""
    return "".join(c if c.isascii() and (c.isalnum() or c in " ._/=,[]-") else f"#{ord(c)};" for c in terminal(text))
