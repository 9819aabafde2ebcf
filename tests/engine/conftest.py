"""A laboratory for each test."""

from pathlib import Path

import pytest

from tests.engine.lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)
