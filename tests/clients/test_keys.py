"""The key of a client: read once, and again when it is refused."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobform.clients.keys import HeldKey, Key
from jobform.model.errors import BackendError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "key").write_text("old\n")
    return tmp_path / "key"


def held(file: Path) -> HeldKey:
    return HeldKey({"SERVICE_KEY_FILE": str(file)}, ["SERVICE_KEY"], "the service")


def test_a_key_is_kept_until_it_is_refused(file: Path) -> None:
    key = held(file)
    assert key.source == "SERVICE_KEY"
    assert key.key() == Key("old", "the file of SERVICE_KEY_FILE")
    assert key.source == "the file of SERVICE_KEY_FILE"
    assert not key.renew(), "the file has no other one"
    file.write_text("new")
    assert key.key().value == "old"
    assert key.renew()
    assert key.key().value == "new"


def test_a_key_that_another_thread_has_renewed_is_another_one(file: Path) -> None:
    """Both were refused with the old key; who comes second is told of the new one too."""
    key = held(file)
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        for pool in (first, second):
            pool.submit(key.key).result()
        file.write_text("new")
        assert first.submit(key.renew).result()
        assert first.submit(key.key).result().value == "new"
        assert second.submit(key.renew).result()
        assert second.submit(key.key).result().value == "new"
        assert not second.submit(key.renew).result()


def test_no_key_is_an_error_each_time_and_none_is_kept(tmp_path: Path) -> None:
    key = held(tmp_path / "key")
    for _ in range(2):
        with pytest.raises(BackendError, match="SERVICE_KEY_FILE names cannot be read"):
            key.key()
    (tmp_path / "key").write_text("new")
    assert key.key().value == "new"
