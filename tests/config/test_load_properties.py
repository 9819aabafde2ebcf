"""Any JSON value that is written as YAML, by whatever writer, is read as itself."""

import io
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from jobform.config.findings import Findings
from jobform.config.load import load
from jobform.config.scalars import MAX_INTEGER
from jobform.model.values import Json

# Characters that a file may hold as they are, or that every writer escapes; no-break spaces may only stand in quotes.
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn", "Zs", "Zl", "Zp", "Cf",
                                                  "Co"]) | st.sampled_from(" \n\t:#-[]{},&*!|>'\"%@`~"))
KEYS = TEXTS.filter(lambda text: text != "<<" and "{{" not in text and "{%" not in text and len(text) < 100)
SCALARS = (
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
    | st.sampled_from(["no", "on", "012", "12:30", "3.10", "null", "~", "1e3", ".5", "0x1f", "2024-01-02", "=", "<<", "- a",
                       "? b"])
)
VALUES = st.recursive(SCALARS,
          lambda below: st.lists(below, max_size=4) | st.dictionaries(KEYS, below, max_size=4), max_leaves=20)


def value_of(text: str) -> Json:
    findings = Findings()
    document = load("x.yaml", text.encode(), findings)
    assert document is not None, findings.all()
    return document.value


@settings(max_examples=150)
@given(VALUES)
def test_json_text_is_yaml(value: Json) -> None:
    assert value_of(json.dumps({"value": value}, ensure_ascii=False)) == {"value": value}


@settings(max_examples=150)
@given(VALUES)
def test_what_ruamel_writes_is_read_back(value: Json) -> None:
    out = io.StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.version = "1.1"  # quotes whatever either version would read as something else
    writer.dump({"value": value}, out)
    assert value_of(out.getvalue().replace("%YAML 1.1\n---\n", "")) == {"value": value}


@settings(max_examples=200)
@given(st.binary(max_size=200) | st.text(" \n\t:#-[]{},&*!|>'\"%@`~?ab10.<=", max_size=60).map(str.encode))
def test_no_bytes_give_a_traceback(data: bytes) -> None:
    findings = Findings()
    document = load("x.yaml", data, findings)
    assert (document is None) == findings.failed
    for found in findings.all():
        assert found.range is not None
        assert found.range.line >= 1
        assert found.range.column >= 1
