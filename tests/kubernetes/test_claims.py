"""A state that is lost costs no run in a cluster: what runs is found, compared and taken over."""

import json

import pytest

from tests.kubernetes.stage import Stage, document, image_job, inline


def lose(stage: Stage) -> None:
    for path in [*stage.directory.glob("jobform.state.j*"), stage.directory / ".jobform" / "seen.json"]:
        path.unlink()


def test_a_lost_state_costs_no_run(stage: Stage) -> None:
    stage.declare({"own": image_job(env={"A": "1"}, ttl="1h"), "whole": inline(document())})
    stage.begin()
    listed = stage.run("orphans", "--format", "json").json
    assert (listed["orphans"], listed["complete"]) == ([], True)
    names = {address: stage.live(address)["metadata"]["name"] for address in ("own", "whole")}
    lose(stage)
    for address, name in names.items():
        refused = stage.run("import", address, f"job/{name}")
        assert (refused.exit, "other_project" in refused.stderr) == (1, True), refused
        done = stage.run("import", address, f"job/{name}", "--take-over", "--format", "json")
        assert done.exit == 0, done
        assert (done.json["recorded"], done.json["differences"], done.json["asserted"]) == (True, [], [])
    stage.plan()
    assert {address: stage.live(address)["metadata"]["name"] for address in names} == names, "nothing was made again"
    stage.declare({"own": image_job(env={"A": "1"}, ttl="1h", labels={"team": "vision"}), "whole": inline(document())})
    assert stage.judged() == {"own": ("update", "spec_changed"), "whole": ("no-op", "in_progress")}
    stage.begin()
    assert stage.live("own")["metadata"]["labels"]["team"] == "vision"
    stage.plan()
    assert stage.run("cancel", "own").exit == 0


def test_what_was_taken_over_keeps_what_it_brought(play: Stage) -> None:
    """A further attempt brings it up to date, and it goes with the job, although another project's label was on it."""
    brought = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "1"}}
    play.declare({"whole": inline(brought, document("whole", end=""))})
    play.begin()
    lose(play)
    done = play.run("import", "whole", "whole", "--take-over", "--format", "json")
    assert (done.exit, done.json["differences"]) == (0, []), done
    play.reach({"whole": "succeeded"})
    changed = {**brought, "data": {"a": "2"}}
    play.declare({"whole": inline(changed, document("whole", end=""))})
    assert play.judged() == {"whole": ("rerun", "spec_changed")}
    play.finish()
    path = f"/api/v1/namespaces/{play.namespace}/configmaps/settings"
    assert play.api.get(path)["data"] == {"a": "2"}
    assert play.run("destroy", "--auto-approve").exit == 0
    assert play.api.maybe(path) is None


def test_a_run_that_differs_is_not_taken_over(stage: Stage) -> None:
    stage.declare({"own": image_job(env={"A": "1"})})
    stage.begin()
    name = stage.live("own")["metadata"]["name"]
    lose(stage)
    stage.declare({"own": image_job(env={"A": "2"})})
    done = stage.run("import", "own", name, "--take-over")
    assert done.exit == 1
    assert '~ spec.env.A: "2" -> "1"' in done.stdout
    done = stage.run("import", "own", name, "--take-over", "--accept-differences")
    assert done.exit == 1
    assert "declare what runs" in done.stderr


@pytest.mark.parametrize("how", ["rm", "push"])
def test_what_was_forgotten_is_listed(stage: Stage, how: str) -> None:
    stage.declare({"own": image_job()})
    stage.begin()
    name = stage.live("own")["metadata"]["name"]
    assert stage.run("state", "rm", "own").exit == 0
    (one,) = stage.run("orphans", "--format", "json").json["orphans"]
    assert (one["why"], one["id"], one["address"]) == ("left_behind", f"job/{name}", "own")
    if how == "push":
        document_ = stage.run("state", "pull").json
        document_["tombstones"] = {}
        del document_["checksum"]
        stage.file("edited.json", json.dumps(document_))
        assert stage.run("state", "push", "--force", "edited.json").exit == 0
        (one,) = stage.run("orphans", "--format", "json").json["orphans"]
        assert (one["why"], one["id"], one["address"]) == ("unrecorded", f"job/{name}", "own")
    assert stage.run("import", "own", one["id"]).exit == 0
    assert stage.run("orphans", "--exit-code").exit == 0
