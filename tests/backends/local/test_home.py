"""The place of the proofs, the identity of the machine, and the published schema."""

import os
import pwd
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobform.backends.local.backend import TYPE
from jobform.backends.local.facts import signal_process, system_facts
from jobform.backends.local.home import Home
from jobform.backends.local.settings import LocalSettings
from jobform.model.errors import BackendError
from jobform.model.values import Json
from jobform.schema import SpecSchema
from tests.backends.local.world import World, job, make_mark


def test_scope_is_this_machine_and_this_home(tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path / "one")}
    with ThreadPoolExecutor(8) as pool:
        scopes = set(pool.map(lambda _: Home(environ).scope(), range(32)))
    assert len(scopes) == 1, "several commands that begin at once agree"
    (scope,) = scopes
    assert scope.text.startswith("local:")
    assert "XDG_STATE_HOME" in scope.source
    assert Home({"XDG_STATE_HOME": str(tmp_path / "two")}).scope().text != scope.text
    assert (tmp_path / "one" / "jobform").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(("environ", "place"), [
    ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/jobform"),
    ({"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/jobform"),
    ({"HOME": "/h"}, "/h/.local/state/jobform"),
])
def test_where_it_is(environ: Mapping[str, str], place: str) -> None:
    assert Home(environ).root == Path(place)


def test_without_home_the_user_database_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Home({}).root.is_relative_to(pwd.getpwuid(os.geteuid()).pw_dir)

    def unknown(uid: int) -> object:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(BackendError, match="no place for its records"):
        Home({"HOME": ""})


def test_an_unusable_place_is_one_clear_error(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    shared = tmp_path / "shared" / "jobform"
    shared.mkdir(parents=True)
    shared.chmod(0o777)
    for path, words in ((tmp_path / "file", "Not a directory"), (tmp_path / "shared", "not yours alone")):
        backend = world.open(environ={"XDG_STATE_HOME": str(path)})
        for call in (backend.scope, lambda backend=backend: backend.submit(job("true"), make_mark("job"))):
            with pytest.raises(BackendError, match="cannot use") as caught:
                call()
            assert words in caught.value.detail
            assert "XDG_STATE_HOME" in caught.value.detail


def test_opening_touches_nothing(world: World) -> None:
    backend = world.open()
    assert backend.read([]) == {}
    assert backend.find([make_mark("job")])
    assert not world.home.exists()
    assert list(world.project.iterdir()) == []


def test_a_process_that_is_not_there_is_not_signalled() -> None:
    assert not signal_process(system_facts(), 2**22 + 1, "1", 0)


@pytest.mark.parametrize("settings", [{"max_parallel": 0}, {"max_parallel": "4"}, {"gpus": ["0"]}, {"kill_grace": "10"}])
def test_settings_that_the_schema_refuses_are_refused_here_too(settings: dict[str, Json]) -> None:
    assert not SpecSchema(TYPE.settings_schema()).is_valid(settings)
    with pytest.raises(BackendError):
        LocalSettings.of(settings)


def test_settings_and_their_defaults() -> None:
    whole: dict[str, Json] = {"max_parallel": 3, "gpus": [0, 1], "kill_grace": "1m"}
    assert SpecSchema(TYPE.settings_schema()).is_valid(whole)
    assert LocalSettings.of(whole) == LocalSettings(3, (0, 1), 60.0)
    assert LocalSettings.of({}).kill_grace == 10.0
    assert LocalSettings.of({}).max_parallel >= 1


# --- the spec's schema ---


@pytest.mark.parametrize(("path", "class_"), [
    ("command", "result"), ("args", "result"), ("env", "result"), ("inherit_env", "result"), ("working_dir", "result"),
    ("timeout", "operational"), ("labels", "operational"), ("resources", "placement"),
])
def test_every_key_has_its_rule(path: str, class_: str) -> None:
    schema = SpecSchema(TYPE.spec_schema())
    rule = schema.rule((path,))
    assert (rule.class_, rule.mutable) == (class_, "never")
    assert rule.reason
    assert set(schema.keys()) == {"command", "args", "env", "inherit_env", "working_dir", "timeout", "labels", "resources"}


@pytest.mark.parametrize(("extra", "valid"), [
    ({}, True), ({"env": {"JOBFORM_VAR_x": "1"}}, True), ({"env": {"JOBFORM_OUTPUT": "x"}}, False),
    ({"env": {"A B": "x"}}, False),
    ({"inherit_env": ["CUDA_HOME"]}, True), ({"inherit_env": ["JOBFORM_SECRET_TOKEN"]}, False), ({"timeout": "90"}, False),
    ({"timeout": "90s"}, True), ({"resources": {"cpu": 0.5, "memory": "1Gi", "gpu": {"count": 2}}}, True),
    ({"resources": {"gpu": {"count": 1, "type": "H100"}}}, True), ({"resources": {"gpu": {"type": "H100"}}}, False),
    ({"image": "python"}, False), ({"command": []}, False),
    ({"command": "true"}, False), ({"env": {"A": 1}}, False),
])
def test_what_a_spec_may_say(extra: dict[str, Json], valid: bool) -> None:
    assert SpecSchema(TYPE.spec_schema()).is_valid({"command": ["true"], **extra}) is valid


def test_secrets_stay_out_of_what_others_can_read() -> None:
    schema = SpecSchema(TYPE.spec_schema())
    assert [schema.rule(path).secret for path in (("command", 0), ("args", 0), ("working_dir",))] == ["never"] * 3
    assert schema.rule(("env", "TOKEN")).secret == "allowed"
