"""Whose object it is: names that people give, objects that strangers make or remove, and what goes with a job."""


import yaml

from tests.kubernetes.stage import Stage, document, image_job, inline

SETTINGS = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"lr": "0.1"}}


def path_of(stage: Stage, address: str) -> str:
    return f"{stage.path}/{stage.live(address)['metadata']['name']}"


def test_what_was_removed_by_hand_is_lost_and_held(play: Stage) -> None:
    play.declare({"runs": image_job(), "ended": image_job(""), "whole": inline(document("named"))})
    play.begin()
    play.running("runs", "whole")
    play.reach({"ended": "succeeded"})
    play.begin()
    play.plan()
    for address in ("runs", "ended", "whole"):
        play.api.delete(path_of(play, address))
    play.wait(lambda: play.api.items(play.path), lambda found: not found)
    lost = {"runs": ("hold", "lost"), "whole": ("hold", "lost"), "ended": ("no-op", "unchanged")}
    assert play.judged(expect=0) == lost
    play.begin(expect=8)
    assert not play.api.items(play.path), "nothing is made again without a yes"
    assert play.judged(expect=0) == lost
    assert play.judged("--recreate-lost") == {**lost, "runs": ("rerun", "lost"), "whole": ("rerun", "lost")}
    play.begin("--recreate-lost")
    play.running("runs", "whole")
    play.plan()
    assert play.live("whole")["metadata"]["name"] == "named"


def test_what_never_started_is_missed_all_the_same(stage: Stage) -> None:
    stage.declare({"job": image_job()})
    stage.begin()
    stage.plan()
    stage.api.delete(path_of(stage, "job"))
    stage.wait(lambda: stage.api.items(stage.path), lambda found: not found)
    assert stage.judged(expect=0) == {"job": ("hold", "lost")}


def test_a_time_to_live_of_ours_waits_for_the_record(play: Stage) -> None:
    play.declare({"own": image_job("", ttl="1s"), "whole": inline(document(end="", ttlSecondsAfterFinished=1))})
    play.finish()
    play.wait(lambda: play.api.items(play.path), lambda found: not found)
    assert play.judged(expect=0) == dict.fromkeys(("own", "whole"), ("no-op", "unchanged"))
    assert {each["phase"] for each in play.status().values()} == {"succeeded"}


def test_a_time_to_live_of_somebody_else_takes_the_proof_away(play: Stage) -> None:
    play.declare({"job": image_job()})
    play.begin()
    play.running("job")
    name = play.live("job")["metadata"]["name"]
    play.patch(f"{play.path}/{name}", {"spec": {"ttlSecondsAfterFinished": 0}}, "cleaner")
    play.let_end("job")
    play.wait(lambda: play.api.items(play.path), lambda found: not found)
    assert play.judged(expect=0) == {"job": ("hold", "lost")}


def test_a_fixed_field_of_a_live_job_is_refused_with_its_line(play: Stage) -> None:
    play.file("k8s/train.yaml", yaml.safe_dump_all([SETTINGS, document("train")], sort_keys=False))
    play.declare({
        "file": {"backend": "cluster", "spec": {"manifest_file": "k8s/train.yaml"}}, "own": image_job(),
        "inline": inline(document()),
    })
    play.begin()
    play.running("file", "own", "inline")
    changed = document("train")
    changed["spec"]["template"]["spec"]["containers"][0]["command"] = ["sh", "-c", "exit 1"]
    play.file("k8s/train.yaml", yaml.safe_dump_all([SETTINGS, changed], sort_keys=False))
    other = document()
    other["spec"]["template"]["spec"]["containers"][0]["image"] = "docker.io/local/busybox:2"
    play.declare({
        "file": {"backend": "cluster", "spec": {"manifest_file": "k8s/train.yaml"}},
        "own": image_job(node_selector={"zone": "b"}, env={"A": "2"}), "inline": inline(other),
    })
    made = play.changes()
    assert {(each["action"], each["reason"]) for each in made.values()} == {("block", "live")}
    where = made["file"]["fields"][0]["range"]
    lines = (play.directory / where["file"]).read_text().splitlines()
    assert (where["file"], lines[where["line"] - 2].strip()) == ("k8s/train.yaml", "command:")
    said = play.run("plan").stdout
    assert "k8s/train.yaml:" in said
    assert "Go" not in said and "&v1" not in said and "core." not in said
    play.begin(expect=7)
    assert play.judged("--allow-cancel", "file")["file"] == ("replace", "spec_changed")
    play.begin("--allow-cancel", "file", expect=7)
    play.attempt("file", 2)
    play.running("file")
    assert play.live("file")["metadata"]["name"] == "train"


def test_a_stranger_with_the_name_is_left_alone(stage: Stage) -> None:
    theirs = document("train", labels={"app": "theirs"})
    stage.api.create(stage.path, theirs)
    config = {**SETTINGS, "data": {"lr": "theirs"}}
    stage.api.create(f"/api/v1/namespaces/{stage.namespace}/configmaps", config)
    stage.declare({"taken": inline(document("train")), "beside": inline(document("other"), SETTINGS)})
    made = stage.changes()
    assert {(each["action"], each["reason"]) for each in made.values()} == {("block", "name_taken")}
    for address, name in (("taken", "train"), ("beside", "settings")):
        where = made[address]["range"]
        line = (stage.directory / where["file"]).read_text().splitlines()[where["line"] - 1]
        assert f'"name": "{name}"' in line, "the name in the manifest is what has to change"
    stage.begin(expect=7)
    managers = {entry["manager"] for it in stage.api.items(stage.path) for entry in it["metadata"]["managedFields"]}
    assert "jobform" not in managers


def test_a_stranger_between_plan_and_apply_is_left_alone(stage: Stage) -> None:
    stage.declare({"job": inline(document("train"), SETTINGS)})
    assert stage.run("plan", "--out", "plan.json").exit == 0
    theirs = stage.api.create(stage.path, document("train", labels={"app": "theirs"}))
    done = stage.run("apply", "--detach", "plan.json")
    assert done.exit == 7, done
    assert "Job train exists already and is not this job's" in done.stderr
    now = stage.api.get(f"{stage.path}/train")
    assert now["metadata"]["uid"] == theirs["metadata"]["uid"]
    assert "jobform" not in {entry["manager"] for entry in now["metadata"]["managedFields"]}
    assert not stage.api.items(f"/api/v1/namespaces/{stage.namespace}/configmaps", "app.kubernetes.io/managed-by=jobform")


def test_a_name_that_people_give_is_kept_over_runs(play: Stage) -> None:
    """The ended object goes before the next attempt takes its name; companions are brought up to date, and go with the job."""
    configs = f"/api/v1/namespaces/{play.namespace}/configmaps"
    play.declare({"job": inline(SETTINGS, document("train", end=""))})
    play.finish()
    first = play.live("job")
    config = play.api.get(f"{configs}/settings")
    play.plan()
    play.declare({"job": inline(SETTINGS, document("train", end=""), generation=2)})
    change = play.changes()["job"]
    assert (change["action"], change["reason"]) == ("rerun", "generation")
    play.finish()
    play.plan()
    second = play.live("job")
    assert second["metadata"]["name"] == "train"
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    changed = {**SETTINGS, "data": {"lr": "0.2"}}
    play.declare({"job": inline(changed, document("train", end=""), generation=2)})
    change = play.changes()["job"]
    assert (change["action"], change["reason"]) == ("rerun", "spec_changed")
    assert [field["path"] for field in change["fields"]] == ["spec.objects.ConfigMap/settings.data.lr"]
    play.finish()
    play.plan()
    now = play.api.get(f"{configs}/settings")
    assert now["data"] == {"lr": "0.2"}
    assert now["metadata"]["uid"] == config["metadata"]["uid"], "it was changed in place"
    play.declare({})
    assert play.changes("--dangerous-allow-empty")["job"]["action"] == "delete"
    play.begin("--dangerous-allow-empty")
    play.wait(lambda: play.api.items(play.path), lambda found: not found)
    assert play.api.maybe(f"{configs}/settings") is None


def test_companions_of_a_forgotten_run_stay_and_those_of_a_stopped_one_go(play: Stage) -> None:
    other = {**SETTINGS, "metadata": {"name": "other"}}
    play.declare({"left": inline(SETTINGS, document("left")), "stopped": inline(other, document("stopped"))})
    play.begin()
    play.running("left", "stopped")
    play.declare({}, removed=[{"job": "left"}, {"job": "stopped", "cancel": True}])
    assert play.judged() == {"left": ("forget", "removed"), "stopped": ("delete", "removed")}
    configs = f"/api/v1/namespaces/{play.namespace}/configmaps"
    play.begin()
    play.wait(lambda: (play.run("advance"), play.api.maybe(f"{configs}/other"))[1], lambda found: found is None)
    assert [it["metadata"]["name"] for it in play.api.items(play.path)] == ["left"]
    assert play.api.maybe(f"{configs}/settings"), "its run goes on with it"
    play.plan()
