"""The spec's schema with a project's own kinds in it: their fields' rules come from `kinds:` of the backends' blocks."""

from collections.abc import Collection, Iterator, Mapping

from jobform.backends.kubernetes.kinds import EVERY, Pattern, path
from jobform.model.errors import InputError
from jobform.model.values import Json
from jobform.schema import load_document

_OBJECTS = "kubernetes-objects.schema.json"
_SUSPEND: dict[str, Json] = {
    "type": "boolean", "x-jobform-class": "operational", "x-jobform-mutable": "always",
    "x-jobform-reason": "it holds the run back; on a running job it stops the pods",
}
_TTL: dict[str, Json] = {
    "type": "integer", "x-jobform-class": "operational", "x-jobform-mutable": "always", "x-jobform-after-end": True,
    "x-jobform-reason": "how long the ended object stays; it is not sent before the outcome is recorded",
}


def spec_schema_for(settings: Collection[Mapping[str, Json]]) -> dict[str, Json]:
    """`kubernetes.schema.json`, extended by the kinds of a project's blocks.

    Raises InputError when two blocks describe kinds of one name differently: a job may move from one to the other.
    """
    document = load_document("kubernetes")
    properties = document["properties"]
    assert isinstance(properties, dict), "the schema ships with jobform"
    added = {key: _workload(block) for key, block in _blocks(settings).items()}
    objects = properties["objects"]
    assert isinstance(objects, dict), "the schema ships with jobform"
    extended: dict[str, Json] = {**objects, "properties": dict(added)} if added else objects
    return {**document, "properties": {**properties, "objects": extended}}


def _blocks(settings: Collection[Mapping[str, Json]]) -> dict[str, Mapping[str, Json]]:
    found: dict[str, Mapping[str, Json]] = {}
    for block in settings:
        kinds = block.get("kinds")
        for key, kind in kinds.items() if isinstance(kinds, dict) else ():
            if isinstance(kind, dict) and found.setdefault(key, kind) != kind:
                raise InputError.of("kinds_differ", f"two backends describe the kind {key} differently",
                                    detail="a job may move from one to the other", hint="give both the same block under kinds")
    return found


def _workload(kind: Mapping[str, Json]) -> dict[str, Json]:
    """The schema of a kind's objects."""
    root: dict[str, Json] = {"$ref": f"{_OBJECTS}#/$defs/workload"}
    for where, rule in _rules(kind):
        _place(root, where).update(rule)
    return root


def _rules(kind: Mapping[str, Json]) -> Iterator[tuple[Pattern, dict[str, Json]]]:
    """Places in an object with what the schema says of them; later ones win."""
    templates, fields = kind.get("templates"), kind.get("fields")
    for text in templates if isinstance(templates, list) else ():
        yield path(str(text)), {"$ref": f"{_OBJECTS}#/$defs/fixedTemplate"}
    for name, rule in (("suspend", _SUSPEND), ("ttl", _TTL)):
        if isinstance(text := kind.get(name), str):
            yield path(text), rule
    for text, field in fields.items() if isinstance(fields, dict) else ():
        if isinstance(field, dict):
            said = {"class": "x-jobform-class", "mutable": "x-jobform-mutable", "reason": "x-jobform-reason",
                    "list_key": "x-jobform-list-key"}
            yield path(text), {said[key]: value for key, value in field.items() if key in said}


def _place(schema: dict[str, Json], where: Pattern) -> dict[str, Json]:
    """The subschema of a place below a schema, made on the way; what stands beside it is open."""
    for part in where:
        if part == EVERY:
            below = schema.get("additionalProperties")
            if not isinstance(below, dict) or "$ref" in below:
                below = {}
            schema["additionalProperties"] = schema["items"] = below
        else:
            schema.setdefault("additionalProperties", {"$ref": f"{_OBJECTS}#/$defs/any"})
            properties = schema.setdefault("properties", {})
            assert isinstance(properties, dict)
            below = properties.setdefault(part, {})
            assert isinstance(below, dict)
        schema = below
    return schema
