"""The file store keeps the store contract."""

from pathlib import Path

import pytest

from jobform.testing.store_contract import StoreContract
from jobform.testing.store_fixtures import Place


class TestFileStore(StoreContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return Place("jobform.stores.file:TYPE", tmp_path)
