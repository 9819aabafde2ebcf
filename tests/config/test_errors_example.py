"""`examples/errors`: each planted mistake is reported at its exact place, and nothing else is."""

from pathlib import Path

import pytest

from jobform.backends.local.backend import TYPE
from jobform.config.read import ReadOptions, read_project, read_settings
from jobform.model.errors import InputError
from jobform.plugins import Registry

EXAMPLE = Path(__file__).parents[2] / "examples" / "errors"


def test_every_planted_mistake_is_found() -> None:
    settings = read_settings(EXAMPLE, ReadOptions())
    with pytest.raises(InputError) as caught:
        read_project(settings, ReadOptions(), Registry(backends={"local": TYPE}))
    found = [f"{diagnostic.range} {diagnostic.code}" for diagnostic in caught.value.diagnostics]
    assert found == (EXAMPLE / "expected.txt").read_text().splitlines()
    assert len({line.split()[1] for line in found}) >= 25
    for diagnostic in caught.value.diagnostics:
        assert diagnostic.range
        lines = (EXAMPLE / diagnostic.range.file).read_text(errors="replace").splitlines()
        assert diagnostic.snippet == lines[diagnostic.range.line - 1]
