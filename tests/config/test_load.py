"""Bytes and YAML: what is read, and what is said of what cannot be read."""

import pytest

from jobform.config.document import Document
from jobform.config.findings import Findings
from jobform.config.load import MAX_DEPTH, load
from jobform.model.diagnostic import Severity
from jobform.model.values import Json


def loaded(text: str | bytes) -> tuple[Document | None, list[str]]:
    """The document, and `line:column code: summary` of each finding; warnings start with `warning`."""
    findings = Findings()
    document = load("x.yaml", text if isinstance(text, bytes) else text.encode(), findings)
    marks = {Severity.WARNING: "warning ", Severity.ERROR: ""}
    return document, [
        f"{marks[found.severity]}{found.range.line}:{found.range.column} {found.code}: {found.summary}"
        for found in findings.all() if found.range
    ]


def value(text: str | bytes) -> Json:
    document, found = loaded(text)
    assert document is not None, found
    assert not found
    return document.value


@pytest.mark.parametrize(("text", "expected"), [
    ("NO", "NO"), ("off", "off"), ("yes", "yes"), ("on", "on"), ("y", "y"),
    ("22:22", "22:22"), ("12:30:45", "12:30:45"), ("1:30.5", "1:30.5"), ("8080:80", "8080:80"),
    ("2024-01-02", "2024-01-02"), ("2024-13-45", "2024-13-45"), ("2001-12-14t21:59:43Z", "2001-12-14t21:59:43Z"),
    ("~", None), ("null", None), ("Null", None), ("", None), ("nUll", "nUll"),
    ("true", True), ("False", False), ("tRUE", "tRUE"),
    ("012", 12), ("-0", 0), ("+1", 1), ("0o14", 12), ("0x1F", 31), ("0b11", "0b11"), ("1_000", "1_000"),
    ("3.10", 3.1), ("1e3", 1000.0), ("1e-7", 1e-7), (".5", 0.5), ("5.", 5.0), ("-0.0", 0.0), ("1.2.3", "1.2.3"),
    ("=", "="), ("<<", "<<"), ("?x", "?x"), ("-x", "-x"), (".", "."), ("1 000", "1 000"), ("'3.10'", "3.10"), ('"no"', "no"),
])
def test_scalars_follow_the_core_schema(text: str, expected: Json) -> None:
    document = value(f"a: {text}\n")
    assert isinstance(document, dict)
    assert repr(document["a"]) == repr(expected)


@pytest.mark.parametrize(("text", "expected"), [
    (b"a: caf\xe9\n", "1:7 not_utf8: x.yaml is not UTF-8: byte 0xe9 at offset 6"),
    ("a: 1\n".encode("utf-16"), "1:1 not_utf8: x.yaml is UTF-16, not UTF-8"),
    ("a: b\u2028c", "1:5 line_separator: U+2028 (line separator) is not allowed: YAML versions disagree about it"),
    ("a: b\u0085c", "1:5 line_separator: U+0085 (next line) is not allowed: YAML versions disagree about it"),
    ("a: \x1b[31m", "1:4 control_character: the character U+001B is not allowed in a file"),
    ('a: "\\0"', "1:4 control_character: a text cannot contain the character U+0000"),
    ("a: \u00a0b", "1:4 no_break_space: unquoted text holds a no-break space (U+00A0)"),
    ("k\u200b: 1", "1:1 invisible_character: the key 'k\\u200b' holds an invisible character"),
    ("a:\n\t- b", "2:1 tab_indentation: a tab is used for indentation"),
    ("a: [1, 2", "1:4 yaml_syntax: the [ that opens here is not closed"),
    ("a: {b: 1", "1:4 yaml_syntax: the { that opens here is not closed"),
    ('a: "x', '1:4 yaml_syntax: the " that opens here is not closed'),
    ("a: 1 b: 2", "1:7 yaml_syntax: there is a second ': ' in one line"),
    ('a: "a" "b"', "1:8 yaml_syntax: there is more text after a value that was complete"),
    ("a: @x", "1:4 yaml_syntax: a value cannot start with '@' unless it is quoted"),
    ("a: `x", "1:4 yaml_syntax: a value cannot start with '`' unless it is quoted"),
    ("a: %x", "1:4 yaml_syntax: a value cannot start with '%' unless it is quoted"),
    ("a: *.txt", "1:4 yaml_syntax: a value that starts with * must be quoted"),
    ("a: *x", "1:4 undefined_alias: the alias *x has no anchor before it"),
    ("a: &x {b: *x}", "1:11 undefined_alias: the alias *x refers to the value that it is part of"),
    ("a: &x 1\nb: &x 2\nc: *x", "2:4 anchor_redefined: the anchor &x is defined twice"),
    ("a: &me", "1:4 empty_anchor: &me names an anchor, and no value follows"),
    ("a: !x y", "1:4 tag_not_allowed: YAML tags are not allowed"),
    ("a: !!python/object:os.system {}", "1:4 tag_not_allowed: YAML tags are not allowed"),
    ("a: !!int '3'", "1:4 tag_not_allowed: YAML tags are not allowed"),
    ("a: - b", "1:4 yaml_syntax: a list item cannot begin here"),
    ("a: |\n  b\n c\n", "3:2 yaml_syntax: this line is indented less than the text block that it seems to belong to"),
    ("a:\n  - b: 1\n   c: 2\n", "3:4 yaml_syntax: expected another list item ('- ') here"),
    ("a: 1\n...\nb: 1", "3:1 yaml_syntax: there is more text after the end of the document"),
    ("a: 1\n---\nb: 2", "2:1 several_documents: a file holds one document only"),
    ("%YAML 1.1\n---\na: 1", "1:1 directive: lines that start with % (YAML directives) are not supported"),
    ('a: "\\q"', "1:5 yaml_syntax: this backslash escape is not known in double-quoted text"),
    ('a: "\\ud800"', "1:7 yaml_syntax: this backslash escape is not known in double-quoted text"),
    ("a: {{ x }}", "1:4 unquoted_template: a value that starts with {{ must be quoted"),
    ("a: {{ x }}-b", "1:4 unquoted_template: a value that starts with {{ must be quoted"),
    ("- {{ x }}", "1:3 unquoted_template: a value that starts with {{ must be quoted"),
    ('"{{ x }}": 1', "1:1 template_in_key: templates are not allowed in keys"),
    ("a: 1\na: 2", "2:1 duplicate_key: the key 'a' is written twice"),
    ("1: 2", "1:1 key_not_string: keys must be strings, and 1 is not"),
    ("true: 2", "1:1 key_not_string: keys must be strings, and true is not"),
    ("? [a]\n: 1", "1:3 key_not_string: a list or a mapping cannot be a key"),
    ("<<: 3", "1:1 merge_key: merge keys (<<) are not supported"),
    ("a: .nan", "1:4 not_a_number: .nan is not allowed: JSON has no such number"),
    ("a: -.Inf", "1:4 not_a_number: -.Inf is not allowed: JSON has no such number"),
    ("a: 1e999", "1:4 number_too_large: the number 1e999 is too large"),
    ("a: 9007199254740993", "1:4 number_too_large: the number 9007199254740993 would lose digits in JSON"),
    ("a: 1\r\nb: 2\rc: 1\na: 2", "4:1 duplicate_key: the key 'a' is written twice"),
])
def test_what_cannot_be_read_is_said_at_its_place(text: str | bytes, expected: str) -> None:
    document, found = loaded(text)
    assert document is None
    assert expected in found
    errors = [line for line in found if not line.startswith("warning")]
    assert len(errors) == 1, errors


@pytest.mark.parametrize(("text", "expected"), [
    ("a: &x 1", "warning 1:4 unused_anchor: the anchor &x is never used"),
    ("a:\n- 1\n -2\n", "warning 2:3 multi_line_scalar: these lines are one text: '1 -2'"),
    ("a: b\n  - c\n", "warning 1:4 multi_line_scalar: these lines are one text: 'b - c'"),
    ('a: "\u202e"', "warning 1:5 invisible_character: the file holds 1 invisible character, first U+202E"),
])
def test_what_is_hardly_meant_is_a_warning(text: str, expected: str) -> None:
    document, found = loaded(text)
    assert document is not None
    assert found == [expected]


def test_what_follows_the_first_document_is_not_looked_at() -> None:
    _, found = loaded("a: 1\n---\nb: 2\nb: 3\n---\nc: 4\n")
    assert found == ["2:1 several_documents: a file holds one document only"]


def test_a_byte_order_mark_is_tolerated() -> None:
    assert value(b"\xef\xbb\xbfa: 1") == {"a": 1}


def test_the_end_of_a_line_may_be_written_in_three_ways() -> None:
    assert value(b"a: 1\r\nb: 2\rc: 3\n") == {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize("bomb", ["[" * 200_000, "{a: " * 200_000, "- " * 200_000, "a:\n" + " - " * 100_000, "? " * 100_000])
def test_deep_nesting_is_one_error(bomb: str) -> None:
    document, found = loaded(bomb)
    assert document is None
    assert any(line.endswith(f"nested too deep (limit {MAX_DEPTH})") for line in found)


def test_aliases_are_counted_as_if_written_out() -> None:
    lines = ["a0: &a0 [1, 1]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))]
    document, found = loaded("\n".join(lines))
    assert document is None
    assert [line.split(" ")[1] for line in found if not line.startswith("warning")] == ["alias_expansion:"]


def test_an_alias_stands_for_the_value_and_has_its_own_place() -> None:
    document, found = loaded("a: &x {b: 1}\nc: *x\n")
    assert document is not None
    assert not found
    assert document.value == {"a": {"b": 1}, "c": {"b": 1}}
    assert str(document.locate(("c",))) == "x.yaml:2:4"
    assert str(document.locate(("c", "b"))) == "x.yaml:1:11"


def test_both_places_of_a_duplicate_are_told() -> None:
    findings = Findings()
    load("x.yaml", b"jobs:\n  a: 1\n  b: 2\n  a: 3\n", findings)
    (found,) = findings.all()
    assert str(found.range) == "x.yaml:4:3"
    assert [str(related.range) for related in found.related] == ["x.yaml:2:3"]


def test_the_opening_bracket_and_the_place_of_notice_are_told() -> None:
    findings = Findings()
    load("x.yaml", b"a: [\"x\",\n  \"y\"\nb: 3\n", findings)
    (found,) = findings.all()
    assert (str(found.range), [str(related.range) for related in found.related]) == ("x.yaml:1:4", ["x.yaml:3:1"])


def test_every_key_and_value_knows_its_place() -> None:
    text = 'jobs:\n  "é": {command: [python, "a b"], n: 3.10}\n  empty:\n'
    document, _ = loaded(text)
    assert document is not None
    place = document.locate(("jobs", "é", "command", 1))
    assert place is not None
    assert (place.line, place.column, place.end_line, place.end_column) == (2, 27, 2, 32)
    assert str(document.locate(("jobs", "é"), at_key=True)) == "x.yaml:2:3"
    assert str(document.locate(("jobs", "empty"))) == "x.yaml:3:3"
    assert document.source(("jobs", "é", "n")) == "3.10"
    assert document.locate(("jobs", "other")) is None
    assert str(document.nearest(("jobs", "other", "deeper"))) == "x.yaml:1:1"
    assert document.line(3) == "  empty:"


@pytest.mark.parametrize(("scalar", "column"), [("ab {{ x }}", 6), ('"ab {{ x }}"', 7), ("'ab {{ x }}'", 7)])
def test_an_offset_into_a_scalar_is_a_column(scalar: str, column: int) -> None:
    document, _ = loaded(f"a: {scalar}\n")
    assert document is not None
    place = document.locate(("a",), offset=2)
    assert place is not None
    assert place.column == column


def test_templates_are_found_without_a_walk() -> None:
    document, _ = loaded('a: {b: "{{ x }}"}\nc: {d: plain}\ne: &t "{% if a %}b{% endif %}"\nf: *t\ng: "\\x7b{ x }}"\n')
    assert document is not None
    assert [key for key in "acefg" if document.templated((key,))] == ["a", "e", "f", "g"]
