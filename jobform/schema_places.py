"""Where in a schema an annotation stands, and what a value holds there: looked up once a schema, asked for every spec."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from jobform.model.values import Json
from jobform.schema_rules import Schema, layers_at, mapping


@dataclass(slots=True)
class Places:
    """Some places in a schema, as a tree of property names.

    here: whether this is one of them; values: what the annotation lists there, where it is a list.
    """

    here: bool = False
    values: list[Json] = field(default_factory=list)
    below: dict[str, "Places"] = field(default_factory=dict)


def annotated(document: Schema, annotation: str) -> Places:
    """The named properties that carry an annotation; what refers to itself is not entered again."""

    def fill(schema: Json, places: Places, inside: frozenset[int]) -> None:
        if not isinstance(schema, dict) or id(schema) in inside:
            return
        for layer in layers_at(document, schema):
            said = layer.get(annotation)
            places.values += said if isinstance(said, list) else []
            places.here = places.here or said is True or bool(places.values)
            for name, item in mapping(layer.get("properties")).items():
                under = places.below.get(name, Places())
                fill(item, under, inside | {id(schema), id(layer)})
                if under.here or under.below:
                    places.below[name] = under

    found = Places()
    fill(document, found, frozenset())
    return found


def found_at(places: Places, value: object) -> Iterator[object]:
    """What a value holds at these places, as far as it has them."""
    yield from (found for _, found in met_at(places, value))


def met_at(places: Places, value: object) -> Iterator[tuple[Places, object]]:
    """The same, each with its place."""
    if places.here:
        yield places, value
    if places.below and isinstance(value, Mapping):
        for name, under in places.below.items():
            if name in value:
                yield from met_at(under, value[name])
