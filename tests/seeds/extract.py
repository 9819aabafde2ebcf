"""Writes `fields.json`; see the package. A page that is not as this reads it is an error, never a shorter list."""

import argparse
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.seeds.paths import shown

FIELDS = Path(__file__).parent / "fields.json"


def fireworks(page: str) -> list[str]:
    """The body of the example request."""
    return list(shown(json.loads(_between(page, "--data '", "'"))))


def runai(page: str) -> list[str]:
    """The body under `## Request`: JSON with a comma after the last item of some objects."""
    block = _between(_after(page, "\n## Request\n"), "``` json\n", "\n```")
    return list(shown(json.loads(re.sub(r",(\s*[}\]])", r"\1", block))))


def braket(page: str) -> list[str]:
    """The options of the synopsis that are the API's, as their JSON syntax shows them."""
    synopsis = _between(page, "## Synopsis", "--cli-input-json")
    names = re.findall(r"--([a-z-]+) <value>", synopsis)
    options = _between(page, "\n## Options\n", "\n## Global Options")
    found: list[str] = []
    for name in names:
        kind, text = _option(options, name)
        field = re.sub(r"-(\w)", lambda match: match[1].upper(), name)
        scalar = kind in ("string", "integer", "boolean")
        found += [field] if scalar else shown(_syntax(_between(text, "JSON Syntax:\n\n```\n", "\n```"), kind), field)
    return found


def unstructured(page: str) -> list[str]:
    """The parts of the multipart body in the OpenAPI document of the page."""
    document = yaml.safe_load(_between(page, "````yaml", "````").split("\n", 1)[1])
    content = document["paths"]["/api/v1/jobs/"]["post"]["requestBody"]["content"]["multipart/form-data"]
    body = document["components"]["schemas"][content["schema"]["$ref"].rsplit("/", 1)[1]]
    return [name + ("[]" if _is_list(schema) else "") for name, schema in body["properties"].items()]


def unstructured_tables(text: str) -> list[str]:
    """What is inside the JSON of `request_data`."""
    found = []
    for names, kind in _rows(text, "## 4. "):
        for name in names:
            path = f"request_data.{name}" if name.startswith("job_nodes[].") else name
            if path.startswith("request_data.") and not path.endswith("[]"):
                found.append(path + ("{}" if kind.startswith("object") else ""))
    return found


def otoy_tables(text: str) -> list[str]:
    """The table of create fields; `....name` stands for a field of the innermost object named before."""
    rows = [(name, kind) for names, kind in _rows(text, "## 4. ") for name in names]
    found: list[str] = []
    prefix = ""
    for name, kind in rows:
        path = f"{prefix}.{name.removeprefix('....')}" if name.startswith("....") else name
        prefix = path.rpartition(".")[0] or prefix
        if kind == "object":
            continue
        items = re.match(r"list of `\{(.+)\}`", kind)
        if items:
            found += [f"{path}[].{item.strip()}" for item in items[1].split(",")]
        else:
            found.append(path + ("[]" if kind.startswith("list of") else "{}" if kind.startswith("map ") else ""))
    return found


Read = Callable[[str], list[str]]

SOURCES: dict[str, Sequence[tuple[str, Read]]] = {
    "braket": [("braket-create-job.txt", braket)],
    "fireworks": [("fireworks-create-batch-job.txt", fireworks)],
    "otoy": [("otoy.md", otoy_tables)],
    "runai": [("runai-create-job.txt", runai)],
    "unstructured": [("unstructured-create-job.txt", unstructured), ("unstructured.md", unstructured_tables)],
}
"""For each service the files that its fields are read from."""


def extract(pages: Path, tables: Path) -> dict[str, Any]:
    """What `fields.json` holds. Raises OSError and ValueError for what is missing or cannot be read."""
    found: dict[str, Any] = {}
    for service, sources in SOURCES.items():
        texts = [((tables if name.endswith(".md") else pages) / name).read_text(encoding="utf-8") for name, _ in sources]
        lists = [read(text) for (_, read), text in zip(sources, texts, strict=True)]
        for (name, _), fields in zip(sources, lists, strict=True):
            if not fields:
                raise ValueError(f"{name} has no fields")
        hashes = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
        found[service] = {
            "source": " ".join(name for name, _ in sources), "sha256": " ".join(hashes),
            "fields": sorted({field for fields in lists for field in fields}),
        }
    return found


def _option(options: str, name: str) -> tuple[str, str]:
    """The type of an option, and all that the page says of it."""
    whole = re.split(r"^`--([a-z-]+)`[^(\n]*\((\w+)\)", options, flags=re.MULTILINE)
    for at in range(1, len(whole), 3):
        if whole[at] == name:
            return whole[at + 1], whole[at + 2]
    raise ValueError(f"there is no option --{name}")


def _syntax(text: str, kind: str) -> Any:
    """The AWS notation as JSON: one of several values, types instead of values, and `...` for more of the same."""
    plain = re.sub(r'("[^"]*")(\|"[^"]*")+', r"\1", text)
    plain = re.sub(r"\n\s*\.\.\.", "", plain)
    value = json.loads(re.sub(r": (integer|double|boolean|long)\b", ": 0", plain))
    return {} if kind == "map" else value


def _is_list(schema: dict[str, Any]) -> bool:
    return "array" in [each.get("type") for each in (schema, *schema.get("anyOf", []))]


def _rows(text: str, heading: str) -> Iterator[tuple[list[str], str]]:
    """Names and type of each row of the first table below a heading."""
    section = _after(text, f"\n{heading}").split("\n## ", 1)[0]
    table = next(part for part in section.split("\n\n") if part.startswith("|"))
    rows = [line.strip("|").split("|") for line in table.splitlines()]
    for row in rows[2:]:
        yield re.findall(r"`([^`]+)`", row[0]), row[1].strip()


def _after(text: str, start: str) -> str:
    _, met, rest = text.partition(start)
    if not met:
        raise ValueError(f"the page has no {start.strip()!r}")
    return rest


def _between(text: str, start: str, end: str) -> str:
    inside, met, _ = _after(text, start).partition(end)
    if not met:
        raise ValueError(f"the page has no {end.strip()!r} after {start.strip()!r}")
    return inside


def main() -> None:
    parser = argparse.ArgumentParser(description="Write fields.json from the services' pages.")
    parser.add_argument("pages", type=Path)
    parser.add_argument("--tables", type=Path, help="where the tables are; the pages' directory by default")
    given = parser.parse_args()
    found = extract(given.pages, given.tables or given.pages)
    FIELDS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    for service, what in found.items():
        print(f"{service}: {len(what['fields'])} fields")


if __name__ == "__main__":
    main()
