"""Why a value does not fit its schema, in plain sentences: one finding per mistake, with the correction where it is known.

jsonschema finds the mistakes; its own messages are not used, because they show whole values and speak of schemas.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from jobform.model.suggest import suggest
from jobform.model.units import parse_duration, parse_quantity
from jobform.model.values import Json, Path, canonical, is_deferred
from jobform.schema_mistakes import Mistake, Unknown, first_duplicate, mistakes
from jobform.schema_rules import Rule, Schema, compile_pattern, type_names, type_of

_LONGEST, _MOST, _MOST_KEYS = 60, 12, 40
_TYPES = {
    "string": "a string", "integer": "a whole number", "number": "a number", "boolean": "true or false", "array": "a list",
    "object": "a map", "null": "null",
}
_PLURALS = {"string": "strings", "integer": "whole numbers", "number": "numbers", "object": "maps", "array": "lists"}
_WORDS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
_BOUNDS = {
    "minimum": "at least {}", "maximum": "at most {}", "exclusiveMinimum": "greater than {}", "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
}
_LENGTHS = {
    "minLength": ("at least", "character"), "maxLength": ("at most", "character"), "minItems": ("at least", "item"),
    "maxItems": ("at most", "item"), "minProperties": ("at least", "key"), "maxProperties": ("at most", "key"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake: the same fields as a `config.problem.Problem`, without its severity. at_key: it is the key that is wrong.

    key: the missing key."""

    path: Path
    code: str
    summary: str
    detail: str = ""
    hint: str = ""
    at_key: bool = False
    key: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """What an explanation may look at. schema: self-contained. rule: of a path. unknown: whether a value is not known yet."""

    schema: Schema
    rule: Callable[[Path], Rule]
    unknown: Unknown
    source_text: Callable[[Path], str | None] | None
    hidden: frozenset[Path]

    def secret(self, path: Path) -> bool:
        """Whether the value at a path must not be shown."""
        return any(path[:length] in self.hidden for length in range(len(path) + 1)) or self.rule(path).sensitive


def is_unknown_rendered(value: object) -> bool:
    """Whether a rendered value stands for one that is known later."""
    return is_deferred(value)


def is_unknown_raw(value: object) -> bool:
    """Whether a written value is a template."""
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def explain(value: Json, context: Context) -> Iterator[Finding]:
    """Every mistake in a value, in the order in which jsonschema meets them."""
    found = [finding for mistake in mistakes(value, context.schema, context.unknown) for finding in _findings(mistake, context)]
    mistyped = {(finding.path[:-1], finding.hint) for finding in found if finding.code == "unknown_key"}
    other_type = {finding.path for finding in found if finding.code in ("wrong_type", "no_value")}
    for finding in found:
        follows = (finding.path, _meant(finding.key)) in mistyped if finding.code == "missing_key" else finding.path in other_type
        if not follows or finding.code in ("wrong_type", "no_value"):
            yield finding


def _findings(mistake: Mistake, context: Context) -> Iterator[Finding]:
    path, keyword = mistake.path, mistake.keyword
    if mistake.name:
        summary = f"the key {quoted(mistake.value)} is not allowed here"
        yield Finding((*path, mistake.value), "bad_key", summary, _wanted_text(mistake.schema), at_key=True)
    elif keyword in ("additionalProperties", "unevaluatedProperties"):
        yield from _unknown_keys(mistake)
    elif keyword in ("anyOf", "oneOf"):
        yield from _branches(mistake, context)
    elif keyword == "false":
        yield Finding(path, "unknown_key", f"{named(path)} is not allowed here", at_key=True)
    else:
        yield _simple(mistake, context)


def _simple(mistake: Mistake, context: Context) -> Finding:
    """A mistake that one keyword tells."""
    path, keyword, value, limit, schema = mistake.path, mistake.keyword, mistake.value, mistake.limit, mistake.schema
    if keyword == "required":
        return _missing(mistake.note, path, schema)
    if keyword == "type":
        return _wrong_type(value, tuple(type_names(schema)), schema, path, context)
    if keyword in ("enum", "const"):
        return _not_listed(value, limit if keyword == "enum" else [limit], path, context)
    if keyword in _BOUNDS:
        found = "" if context.secret(path) else f"found {shown(value)}"
        return Finding(path, "out_of_range", f"{named(path)} must be {_BOUNDS[keyword].format(limit)}", found)
    if keyword in _LENGTHS:
        least, what = _LENGTHS[keyword]
        detail = "" if context.secret(path) else f"it has {len(value)}"
        return Finding(path, "bad_length", f"{named(path)} must have {least} {limit} {what}{'' if limit == 1 else 's'}", detail)
    if keyword == "pattern":
        return _bad_format(value, schema, path, context)
    if keyword == "uniqueItems":
        return _duplicate(value, path, context)
    if keyword == "not":
        return _excluded(value, limit, path)
    if keyword == "dependentRequired":
        return _companion(value, limit, path)
    return Finding(path, "bad_value", f"{named(path)} is not as it must be here", _wanted_text(schema))


def _missing(name: str, path: Path, schema: Schema) -> Finding:
    where = f" in {named(path)}" if path else ""
    below = schema.get("properties")
    field = below.get(name) if isinstance(below, dict) else None
    examples = field.get("examples") if isinstance(field, dict) else None
    example = flow(examples[0]) if isinstance(examples, list) and examples else ""
    hint = f"for example {name}: {example}" if example else f"add the key {quoted(name)}"
    return Finding(path, "missing_key", f"the key {quoted(name)} is missing{where}", hint=hint, at_key=True, key=name)


def _unknown_keys(mistake: Mistake) -> Iterator[Finding]:
    """One finding for each key that the schema does not have."""
    listed = mistake.schema.get("properties")
    known = listed if isinstance(listed, dict) else {}
    written = mistake.schema.get("patternProperties")
    patterns = [compile_pattern(pattern) for pattern in written] if isinstance(written, dict) else []
    allowed = sorted(name for name, below in known.items() if below is not False)
    more = ", ..." if len(allowed) > _MOST_KEYS else ""
    detail = f"allowed here: {', '.join(allowed[:_MOST_KEYS])}{more}" if allowed else "no keys are allowed here"
    for key in mistake.value:
        if key not in known and not any(pattern.search(key) for pattern in patterns):
            hint = _meant(suggest(key, allowed))
            yield Finding((*mistake.path, key), "unknown_key", f"unknown key {quoted(key)}", detail, hint, at_key=True)


def _meant(word: str | None) -> str:
    return f"did you mean {word}?" if word else ""


def _wrong_type(value: Json, wanted: tuple[str, ...], schema: Schema, path: Path, context: Context) -> Finding:
    """A value of another type; what was most likely meant decides the hint."""
    expected = _either([_type_phrase(name, schema) for name in wanted])
    if value is None:
        hint = "give it a value, or remove the key"
        return Finding(path, "no_value", f"{named(path)} has no value", f"expected {expected}", hint)
    found = _TYPES[type_of(value)] if context.secret(path) else described(value)
    hint = _type_hint(value, frozenset(wanted), schema, path, context)
    if context.secret(path):
        hint = ""
    summary = f"{named(path)} must be {expected}, not {found}"
    if "string" in wanted and isinstance(value, int | float) and not isinstance(value, bool):
        source = context.source_text(path) if context.source_text and not context.secret(path) else None
        if source is not None and source != shown(value):
            return Finding(path, "wrong_type", summary, f"{source} would be read as {shown(value)}", f'quote it: "{source}"')
    return Finding(path, "wrong_type", summary, hint=hint)


def _type_hint(value: Json, wanted: frozenset[str], schema: Schema, path: Path, context: Context) -> str:
    if schema.get("x-jobform-type") == "duration" and isinstance(value, int | float) and not isinstance(value, bool):
        return f"a duration needs a unit: write {shown(value)}s or {shown(value)}m"
    if isinstance(value, str):
        return _text_hint(value, wanted, schema)
    if "string" in wanted and isinstance(value, bool | int | float):
        source = (context.source_text(path) if context.source_text else None) or shown(value)
        return f'quote it: "{source}"'
    if "array" in wanted:
        return f"write a list: [{flow(value)}]" if not isinstance(value, dict) else ""
    return ""


def _text_hint(value: str, wanted: frozenset[str], schema: Schema) -> str:
    """What a string was most likely meant to be."""
    if "boolean" in wanted and value.lower() in _WORDS:
        return f"use true or false: write {_WORDS[value.lower()]}"
    if "boolean" in wanted and value in ("true", "false"):
        return f"remove the quotes: {value}"
    if wanted & {"integer", "number"} and _reads_as_number(value, whole="number" not in wanted):
        return f"remove the quotes: {value}"
    items = schema.get("items")
    if "array" in wanted and (not isinstance(items, dict) or "string" in (type_names(items) or ("string",))):
        try:
            words = shlex.split(value)
        except ValueError:
            words = [value]
        return f"write a list: {flow(list(words))}"
    return ""


def _reads_as_number(text: str, *, whole: bool) -> bool:
    try:
        number = float(text) if len(text) <= 40 else float("nan")
    except ValueError:
        return False
    return number.is_integer() if whole else number == number


def _not_listed(value: Json, choices: list[Json], path: Path, context: Context) -> Finding:
    listed = ", ".join(shown(choice) if not isinstance(choice, str) else choice for choice in choices[:40])
    summary = f"{named(path)} must be {listed}" if len(choices) == 1 else f"{named(path)} must be one of {listed}"
    if value is None and None not in choices:
        return Finding(path, "no_value", f"{named(path)} has no value", f"expected one of {listed}")
    if context.secret(path):
        return Finding(path, "bad_value", summary)
    near = suggest(value, [choice for choice in choices if isinstance(choice, str)]) if isinstance(value, str) else None
    return Finding(path, "bad_value", summary, f"found {described(value)}", _meant(near))


def _bad_format(value: str, schema: Schema, path: Path, context: Context) -> Finding:
    """A string whose form is wrong: units explain themselves, other patterns by what the schema says is expected."""
    hidden = context.secret(path)
    reader = {"duration": parse_duration, "quantity": parse_quantity}.get(str(schema.get("x-jobform-type")))
    if reader is not None and not hidden:
        try:
            reader(value)
        except ValueError as error:
            kind = schema["x-jobform-type"]
            return Finding(path, f"bad_{kind}", f"{named(path)} is not a {kind}", str(error))
    detail = "; ".join(part for part in (_wanted_text(schema), "" if hidden else f"found {shown(value)}") if part)
    return Finding(path, "bad_format", f"{named(path)} is not written as it must be", detail)


def _wanted_text(schema: Json) -> str:
    """What a schema says of the form that it expects."""
    if not isinstance(schema, dict):
        return ""
    if isinstance(expected := schema.get("x-jobform-expected"), str):
        return f"expected {expected}"
    if isinstance(pattern := schema.get("pattern"), str):
        return f"expected a match of {pattern}"
    if isinstance(longest := schema.get("maxLength"), int):
        return f"expected at most {longest} characters"
    return ""


def _duplicate(value: list[Json], path: Path, context: Context) -> Finding:
    found = first_duplicate(value)
    assert found is not None, "jsonschema found a duplicate"
    first, second = found
    what = "" if context.secret(path) else f"{shown(value[second])} "
    return Finding((*path, second), "duplicate_item", f"{what}stands twice in {named(path)}", f"first as item {first + 1}")


def _excluded(value: Json, forbidden: Json, path: Path) -> Finding:
    """`not: {required: [a, b]}` says that keys exclude each other."""
    keys = forbidden.get("required") if isinstance(forbidden, dict) else None
    if isinstance(keys, list) and len(keys) > 1 and isinstance(value, dict):
        return _exclusive([str(key) for key in keys], path)
    if isinstance(keys, list) and keys and isinstance(value, dict):
        return Finding((*path, str(keys[0])), "unknown_key", f"the key {quoted(keys[0])} is not allowed here", at_key=True)
    return Finding(path, "bad_value", f"{named(path)} is not allowed here")


def _exclusive(keys: list[str], path: Path) -> Finding:
    return Finding((*path, keys[-1]), "exclusive_keys", f"{_either([quoted(key) for key in keys], 'and')} exclude each other",
                   hint="keep one of them", at_key=True)


def _companion(value: dict[str, Json], needed: Mapping[str, list[str]], path: Path) -> Finding:
    for key, others in needed.items():
        missing = [other for other in others if key in value and other not in value]
        if missing:
            return Finding((*path, key), "missing_key", f"{quoted(key)} needs {quoted(missing[0])} beside it", at_key=True)
    return Finding(path, "missing_key", f"{named(path)} lacks a key", at_key=True)


def _branches(mistake: Mistake, context: Context) -> Iterator[Finding]:
    """A choice between forms of which none fits: only the form that was most likely meant is reported."""
    forms = mistake.branches
    if not forms:
        yield _several(mistake)
    elif all(len(form) == 1 and form[0].keyword == "required" and form[0].depth == 0 for form in forms):
        names = [quoted(form[0].note) for form in forms]
        yield Finding(mistake.path, "missing_key", f"one of the keys {_either(names)} is needed", at_key=True)
    elif meant := [form for form in forms if not any(_rules_out(below) for below in form)]:
        for below in max(meant, key=lambda form: (max(m.depth for m in form), -len(form))):
            yield from _findings(below, context)
    else:
        yield _no_form([below for form in forms for below in form if _rules_out(below)], mistake, context)


def _rules_out(mistake: Mistake) -> bool:
    """Whether a mistake shows that its form was not meant: another type, or another value of the key that tells forms apart."""
    if mistake.keyword in ("anyOf", "oneOf"):
        return mistake.depth == 0 and all(any(_rules_out(below) for below in form) for form in mistake.branches)
    if mistake.depth == 0:
        return mistake.keyword in ("type", "enum", "const")
    return mistake.depth == 1 and mistake.keyword == "const"


def _leaves(mistake: Mistake) -> Iterator[Mistake]:
    if mistake.branches:
        for form in mistake.branches:
            for below in form:
                yield from _leaves(below)
    else:
        yield mistake


def _no_form(causes: list[Mistake], mistake: Mistake, context: Context) -> Finding:
    """No form fits even by type: everything that would is named at once."""
    leaves = [leaf for cause in causes for leaf in _leaves(cause)]
    listed = [leaf for leaf in leaves if leaf.keyword in ("enum", "const")]
    choices = [choice for leaf in listed for choice in (leaf.limit if leaf.keyword == "enum" else [leaf.limit])]
    deeper = next((leaf for leaf in listed if leaf.depth), None)
    if deeper is not None:
        return _not_listed(deeper.value, choices, deeper.path, context)
    schemas = {name: leaf.schema for leaf in leaves if leaf.keyword == "type" for name in type_names(leaf.schema)}
    if not schemas or (choices and isinstance(mistake.value, str)):
        return _not_listed(mistake.value, choices, mistake.path, context)
    shape = next((schema for schema in schemas.values() if "items" in schema), next(iter(schemas.values())))
    return _wrong_type(mistake.value, tuple(schemas), shape, mistake.path, context)


def _several(mistake: Mistake) -> Finding:
    """`oneOf` with more than one fitting form: usually keys that exclude each other."""
    keys = [
        str(key) for form in mistake.limit if isinstance(form, dict)
        for key in form.get("required", []) if isinstance(mistake.value, dict) and key in mistake.value
    ]
    unique = list(dict.fromkeys(keys))
    if len(unique) > 1:
        return _exclusive(unique, mistake.path)
    return Finding(mistake.path, "bad_value", f"{named(mistake.path)} fits more than one of the forms that exclude each other")


def _type_phrase(name: str, schema: Schema) -> str:
    items = schema.get("items")
    if name == "array" and isinstance(items, dict):
        plurals = [_PLURALS[kind] for kind in type_names(items) if kind in _PLURALS]
        return f"a list of {_either(plurals)}" if plurals else "a list"
    if name == "string" and schema.get("x-jobform-type") in ("duration", "quantity"):
        return f"a {schema['x-jobform-type']}"
    return _TYPES.get(name, name)


def _either(words: list[str], joint: str = "or") -> str:
    unique = list(dict.fromkeys(words))
    return unique[0] if len(unique) == 1 else f"{', '.join(unique[:-1])} {joint} {unique[-1]}" if unique else "something else"


def named(path: Path) -> str:
    """A place in words: `"image"`, `item 2 of "command"`, `this` for the top."""
    if not path:
        return "this"
    if isinstance(path[-1], int):
        return f"item {path[-1] + 1} of {named(path[:-1])}"
    return quoted(path[-1])


def quoted(text: object) -> str:
    """A text from outside as JSON, cut where it is long."""
    return canonical(_cut(str(text)))


def shown(value: Json) -> str:
    """A value from outside as JSON, cut where it is long."""
    return quoted(value) if isinstance(value, str) else _cut(canonical(value))


def described(value: Json) -> str:
    """A value in words: `the number 3.1`, `the string "a"`, `a list`."""
    kind = type_of(value)
    if kind in ("array", "object", "null"):
        return _TYPES[kind]
    return shown(value) if kind == "boolean" else f"the {'string' if kind == 'string' else 'number'} {shown(value)}"


def flow(value: Json) -> str:
    """A value as YAML on one line, cut where it is long."""
    if isinstance(value, list):
        more = ", ..." if len(value) > _MOST else ""
        return f"[{', '.join(flow(item) for item in value[:_MOST])}{more}]"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in ("true", "false", "null", *_WORDS):
        return value
    return shown(value)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST - 3]}..."


_PLAIN = compile_pattern(r"(?:--?)?[A-Za-z_./][A-Za-z0-9_./=+-]*")
