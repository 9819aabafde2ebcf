"""What a secret or an output gave is no drift: its value is not kept, and what a service reports of it is not shown."""

import pytest

from jobform.engine.compare import drift_changes
from jobform.model.values import Json
from jobform.schema import SpecSchema

SCHEMA = SpecSchema({
    "type": "object", "properties": {
        "env": {"type": "object", "additionalProperties": {"type": "string"}},
        "args": {"type": "array", "items": {"type": "string"}}, "name": {"type": "string"},
    },
})
SECRET: dict[str, Json] = {"expr": "{{ secret('TOKEN') }}", "with": {}}


@pytest.mark.parametrize(("applied", "actual", "expected"), [
    ({"env": {"TOKEN": SECRET}}, {"env": {"TOKEN": "hush"}}, []),
    ({"env": {"TOKEN": SECRET}}, {"env": {}}, []),
    ({"env": {"TOKEN": SECRET, "A": "1"}}, {"env": {"TOKEN": "hush", "A": "2"}}, ["spec.env.A"]),
    ({"env": {"TOKEN": SECRET}}, {"env": {"TOKEN": "hush", "B": "1"}}, ["spec.env.B"]),
    ({"env": SECRET}, {"env": {"A": "hush"}}, []),
    ({"args": ["-x", SECRET]}, {"args": ["-x", "hush"]}, []),
    ({"name": SECRET}, {"name": "hush"}, []),
])
def test_unresolved_values_are_not_compared(applied: dict[str, Json], actual: dict[str, Json], expected: list[str]) -> None:
    found = drift_changes(SCHEMA, applied, actual, ())
    assert [change.path for change in found] == expected
    assert "hush" not in str(found)
