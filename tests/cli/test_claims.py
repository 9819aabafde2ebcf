"""`jobform import` and `jobform orphans` as commands: on Fireworks' sandbox, with specs of every service, on this machine."""

import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest

from jobform.model.address import remote_name
from jobform.model.state import State
from jobform.sandbox.faults import Fault
from jobform.sandbox.host import Sandbox
from jobform.schema import load_document
from tests.cli.conftest import Cli, Make, job, sleeper
from tests.sandboxed import assert_never_two_live, assert_no_bugs
from tests.support import Result, project, read_state

FOREVER = {"SANDBOX_QUEUED": "0", "SANDBOX_SECONDS": "inf"}
LIVE: Mapping[str, Any] = {"node_pool_id": "pool", "command": ["train"], "env": FOREVER}
JOBS = "/v1/accounts/[^/]+/batchJobs"


def lose(directory: Path) -> None:
    """The state goes, as when nobody kept it: the next command begins another lineage."""
    for path in [*directory.glob("jobform.state.j*"), directory / ".jobform" / "seen.json"]:
        path.unlink()


class Desk:
    """A project with one backend on a sandbox, and commands in it."""

    def __init__(self, directory: Path, cli: Cli, sandbox: Sandbox, type_: str, settings: Mapping[str, Any]) -> None:
        self.directory, self.sandbox, self.type = directory, sandbox, type_
        self._cli, self._settings = cli, settings

    def write(self, **jobs: Mapping[str, Any]) -> None:
        """jobs: specs by name."""
        declared = {name: {"backend": "there", "spec": dict(spec)} for name, spec in jobs.items()}
        project(self.directory, declared, {"there": {"type": self.type, **self._settings}})

    def __call__(self, *arguments: str, exits: int = 0, env: Mapping[str, str] | None = None) -> Result:
        environ = {**self.sandbox.variables, "HOME": str(self.directory), **(env or {})}
        done: Result = self._cli(*arguments, cwd=self.directory, env=environ)
        assert done.exit == exits, str(done)
        assert "Traceback" not in done.stderr and "fault in jobform" not in done.stderr, done
        return done

    def lose_state(self) -> None:
        lose(self.directory)

    def ids(self) -> list[str]:
        return list(self.sandbox.world(self.type).jobs)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(speed=50.0, only=frozenset({"fireworks"})) as running:
        yield running
        assert_no_bugs(running.ledger.entries())
        assert_never_two_live(running.ledger.entries())


@pytest.fixture
def desk(tmp_path: Path, cli: Cli, sandbox: Sandbox) -> Desk:
    return Desk(tmp_path, cli, sandbox, "fireworks", {})


def valid(done: Result, schema: str) -> Any:
    """The document that was printed, which follows its schema."""
    assert done.stdout.isascii()
    jsonschema.Draft202012Validator(load_document(schema)).validate(done.json)
    return done.json


def test_a_lost_state_costs_no_run(desk: Desk) -> None:
    desk.write(train=LIVE)
    desk("apply", "--auto-approve", "--detach")
    (run,) = desk.ids()
    desk.lose_state()
    assert "other_project" in desk("import", "train", run, exits=1).stderr
    done = desk("import", "train", run, "--take-over")
    assert f"train is {run} on there now, as attempt 1: " in done.stdout
    assert "No changes" in desk("plan", "--detailed-exitcode").stdout
    assert json.loads(desk("status", "--format", "json").stdout)["jobs"][0]["phase"] == "running"
    assert [line for line in desk("history", "train").stdout.splitlines() if " 1 " in f" {line}"]
    desk("cancel", "train")
    assert desk.ids() == [run], "it was never made again"


def test_a_run_that_differs(desk: Desk) -> None:
    desk.write(train=LIVE, extra=LIVE)
    desk("apply", "--auto-approve", "--detach", "--select", "train")
    (run,) = desk.ids()
    desk.lose_state()
    desk.write(train={**LIVE, "env": {**FOREVER, "SEED": "7"}, "display_name": "nightly"})
    before = {path: path.read_bytes() for path in desk.directory.rglob("*") if path.is_file()}
    done = desk("import", "train", run, "--take-over", exits=1)
    assert '- spec.env.SEED: "7"' in done.stdout and "jobs/jobs.yaml:" in done.stdout
    assert "2 fields of it differ from what is declared" in done.stderr and "--accept-differences" in done.stderr
    document = valid(desk("import", "train", run, "--take-over", "--format", "json", exits=1), "import")
    assert (document["recorded"], [field["path"] for field in document["differences"]]) == (
        False, ["spec.display_name", "spec.env.SEED"],
    )
    assert {path: path.read_bytes() for path in desk.directory.rglob("*") if path.is_file() and path in before} == before
    assert read_state(desk.directory) is None
    document = valid(desk("import", "train", run, "--take-over", "--accept-differences", "--format", "json"), "import")
    assert (document["recorded"], document["attempt"], document["phase"]) == (True, 1, "running")
    plan = desk("plan", "--detailed-exitcode", exits=2).stdout
    assert "train is blocked" in plan and "spec.env.SEED" in plan


def test_orphans_by_all_their_names(desk: Desk) -> None:
    desk.write(train=LIVE, other=LIVE)
    desk("apply", "--auto-approve", "--detach")
    state = (desk.directory / "jobform.state.json").read_bytes()
    assert desk("orphans", "--exit-code").stdout.startswith("No orphans")
    desk("state", "rm", "train")
    runs = {entry.owner.split("-")[2]: id_ for id_, entry in desk.sandbox.world("fireworks").jobs.items()}
    assert len(runs) == 2
    left = valid(desk("orphans", "--format", "json", "--exit-code", exits=2), "orphans")
    assert [(one["why"], one["address"], one["phase"]) for one in left["orphans"]] == [("left_behind", "train", "running")]
    shown = desk("orphans", "--backend", "there").stdout
    run = left["orphans"][0]["id"]
    assert run in shown and "left_behind" in shown and "jobform cancel train" in shown
    desk("import", "train", run)
    assert desk("orphans").stdout.startswith("No orphans")
    assert desk("orphans", "--format", "markdown").stdout.startswith("### jobform orphans")
    assert state != (desk.directory / "jobform.state.json").read_bytes()


def test_a_run_that_nobody_owns(desk: Desk) -> None:
    desk.write(train=LIVE)
    desk("apply", "--auto-approve", "--detach")
    for known in desk.sandbox.world("fireworks").jobs.values():
        known.body = {key: value for key, value in known.body.items() if key != "annotations"}
    desk.lose_state()
    desk("plan")
    assert desk("orphans").stdout.startswith("No orphans")
    (one,) = valid(desk("orphans", "--all", "--format", "json"), "orphans")["orphans"]
    assert (one["why"], one["mark"], one["attempt"]) == ("unowned", "", None)
    desk("import", "train", one["id"])
    desk("plan", "--detailed-exitcode")


def test_a_service_that_cannot_be_asked(desk: Desk) -> None:
    desk.write(train=LIVE)
    desk("apply", "--auto-approve", "--detach")
    desk.sandbox.faults.set([Fault("fireworks", "GET", JOBS, times=1000, status=403, skip=1)])
    done = desk("orphans", "--format", "json", exits=1)
    document = valid(done, "orphans")
    assert (document["complete"], document["unlisted"][0]["backend"]) == (False, "there")
    assert "not in the list above" in done.stderr
    desk.sandbox.faults.set([])
    assert "does not accept the credentials" in desk("orphans", exits=1, env={"FIREWORKS_API_KEY": "wrong"}).stderr
    assert "does not accept the credentials" in desk("import", "train", "x", exits=1, env={"FIREWORKS_API_KEY": "wrong"}).stderr


# --- every service --------------------------------------------------------------------------------------------------------

SERVICES = ("braket", "fireworks", "otoy", "runai", "unstructured")


def seeds(name: str) -> ModuleType:
    if find_spec(f"tests.seeds.{name}") is None:
        pytest.skip(f"{name} has no specs yet")
    return import_module(f"tests.seeds.{name}")


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_gives_back_what_it_was_given(name: str, tmp_path: Path, cli: Cli) -> None:
    """What was submitted can be imported into an empty state without a difference, and the next plan is empty."""
    service = seeds(name)
    with Sandbox(speed=100.0, only=frozenset({service.TYPE.name})) as sandbox:
        if hasattr(service, "prepare"):
            service.prepare(tmp_path, sandbox.variables)
        desk = Desk(tmp_path, cli, sandbox, service.TYPE.name, service.SETTINGS)
        specs = {f"job{number}": spec for number, spec in enumerate(service.SPECS)}
        desk.write(**specs)
        secrets = {f"JOBFORM_SECRET_{name}": f"value-of-{name}" for name in secret_names(specs)}
        desk("apply", "--auto-approve", "--detach", env=secrets)
        state = read_state(tmp_path)
        assert state is not None
        runs = {address: str(record.last.ref["id"]) for address, record in state.jobs.items() if record.last}  # type: ignore[index,call-overload]  # JSON of a known shape
        assert runs.keys() == specs.keys()
        accounted = valid(desk("orphans", "--format", "json"), "orphans")
        assert (accounted["orphans"], accounted["unlisted"]) == ([], [])
        forget_everything(desk)
        found = valid(desk("orphans", "--format", "json", "--all"), "orphans")["orphans"]
        told = {one["address"]: one["id"] for one in found if one["why"] == "unrecorded"}
        assert told.keys() == {address for address in runs if is_marked(name, address, state)}
        for address, run in (runs | told).items():
            done = desk("import", address, run, "--format", "json", env=secrets)
            assert valid(done, "import")["differences"] == []
        made = len(sandbox.world(service.TYPE.name).jobs)
        assert desk("orphans", "--exit-code").stdout.startswith("No orphans")
        desk("plan", "--detailed-exitcode", env=secrets)
        assert len(sandbox.world(service.TYPE.name).jobs) == made
        assert_no_bugs(sandbox.ledger.entries())


def is_marked(service: str, address: str, state: State) -> bool:
    """Whether a run says whose it is: by its mark, else by its name, if jobform gave it."""
    attempt = state.jobs[address].attempts[0]
    named = attempt.name == remote_name(state.lineage, address, attempt.n)
    return service in ("braket", "fireworks", "otoy") or (service == "runai" and named)


def forget_everything(desk: Desk) -> None:
    """The state is that of this project still, and knows nothing: as one that was restored from before."""
    document = desk("state", "pull").json
    document |= {"jobs": {}, "tombstones": {}}
    del document["checksum"]
    (desk.directory / "empty.json").write_text(json.dumps(document))
    desk("state", "push", "--force", "empty.json")


def secret_names(specs: Mapping[str, Any]) -> set[str]:
    return {part.split("'")[1] for part in json.dumps(specs).split("secret(")[1:]}


# --- this machine ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A file whose appearance ends the jobs that wait for it."""
    path = tmp_path / "gate"
    yield path
    path.touch()


def test_local_runs_are_taken_over_by_name(cli: Cli, make: Make, gate: Path) -> None:
    directory = make({"train": sleeper(gate), "done": job("echo done")})
    assert cli("apply", "--auto-approve", "--detach", cwd=directory).exit == 0
    assert cli("wait", "done", cwd=directory).exit == 0
    state = read_state(directory)
    assert state is not None
    names = {address: record.attempts[0].name for address, record in state.jobs.items()}
    assert cli("orphans", "--exit-code", cwd=directory).exit == 0
    lose(directory)
    for address, name in names.items():
        done = cli("import", address, name, "--take-over", cwd=directory)
        assert done.exit == 0 and "Nobody could compare" not in done.stdout, done
    assert cli("plan", "--detailed-exitcode", cwd=directory).exit == 0
    assert cli("logs", "done", cwd=directory).stdout == "done\n"
    gate.touch()
    assert cli("wait", cwd=directory).exit == 0
    assert [attempt.phase.value for attempt in read_state(directory).jobs["train"].attempts] == ["succeeded"]  # type: ignore[union-attr]  # it is there, or the test fails


def test_local_runs_without_their_description_are_asserted(cli: Cli, make: Make) -> None:
    directory = make({"done": job("echo done")})
    assert cli("apply", "--auto-approve", cwd=directory).exit == 0
    name = read_state(directory).jobs["done"].attempts[0].name  # type: ignore[union-attr]  # it is there, or the test fails
    next(directory.rglob("job.json")).unlink()
    lose(directory)
    done = cli("import", "done", name, "--take-over", "--format", "json", cwd=directory)
    assert done.json["asserted"] == ["spec.command", "spec.timeout"]
    kept = cli("state", "pull", cwd=directory).json
    assert kept["features"] == ["asserted"]
    assert kept["jobs"]["done"]["attempts"][0]["asserted"] == ["spec.command", "spec.timeout"]
    assert "not compared when it was imported: spec.command, spec.timeout" in cli("state", "show", "done", cwd=directory).stdout


def test_local_orphans(cli: Cli, make: Make, gate: Path) -> None:
    directory = make({"train": sleeper(gate)})
    assert cli("apply", "--auto-approve", "--detach", cwd=directory).exit == 0
    backup = cli("state", "pull", cwd=directory).json
    backup["jobs"] = {}
    del backup["checksum"]
    (directory / "empty.json").write_text(json.dumps(backup))
    assert cli("state", "push", "--force", "empty.json", cwd=directory).exit == 0
    (one,) = cli("orphans", "--format", "json", cwd=directory).json["orphans"]
    assert (one["why"], one["address"], one["phase"], one["attempt"]) == ("unrecorded", "train", "running", 1)
    assert cli("import", "train", one["id"], cwd=directory).exit == 0
    assert cli("orphans", "--exit-code", cwd=directory).exit == 0
