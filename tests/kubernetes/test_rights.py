"""What an account may do decides what commands can do: to read is enough for plans, the shipped role for applies, and no more."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import audit
from tests.cluster.api import Object
from tests.cluster.kueue import Kueue, install
from tests.cluster.quota import allow, forbid
from tests.kubernetes.project import Project, shell
from tests.kubernetes.rights import Right, account, bearer, reading, rights_in, shipped, user_name, without
from tests.kubernetes.stage import Stage, document, image_job, inline
from tests.support import Result

Use = Callable[[list[Object]], Path]


@pytest.fixture
def use(tmp_path: Path) -> Iterator[Callable[[Project, list[Object]], Path]]:
    """`use(project, documents)` lets the project's commands run as the service account of these documents."""
    with ExitStack() as accounts:
        def give(project: Project, documents: list[Object]) -> Path:
            accounts.close()
            path = accounts.enter_context(account(project.cluster, project.namespace, documents, tmp_path))
            project.environ["KUBECONFIG"] = str(path)
            return path

        yield give


def once(said: Result, text: str) -> None:
    assert (said.stdout + said.stderr).count(text) == 1, said


def secretive(kubeconfig: Path, *said: Result) -> None:
    """No command printed the token."""
    for each in said:
        assert bearer(kubeconfig) not in each.stdout + each.stderr


# --- reading


def test_who_may_only_read_can_plan_and_look_and_nothing_else(play: Stage, use: Any) -> None:
    play.declare({
        "same": image_job(), "changed": image_job(labels={"team": "a"}), "drifted": image_job(labels={"team": "a"}),
        "bigger": image_job(completions=4, parallelism=1),
    })
    play.begin()
    play.running("same", "changed", "drifted", "bigger")
    play.patch(f"{play.path}/{play.live('drifted')['metadata']['name']}", {"metadata": {"labels": {"team": "z"}}}, "carol")
    play.declare({
        "same": image_job(), "changed": image_job(labels={"team": "b"}), "drifted": image_job(labels={"team": "a"}),
        "bigger": image_job(completions=8, parallelism=1), "fresh": image_job(), "whole": inline(document()),
    })
    kubeconfig = use(play, reading())

    said = play.run("plan", "--detailed-exitcode", "--format", "json")
    assert said.exit == 2, said
    changes = {each["address"]: each for each in said.json["changes"]}
    assert {name: (each["action"], each["reason"]) for name, each in changes.items()} == {
        "same": ("no-op", "in_progress"), "changed": ("update", "spec_changed"), "drifted": ("update", "drifted"),
        "bigger": ("block", "live"), "fresh": ("create", "new"), "whole": ("create", "new"),
    }
    (field,) = changes["drifted"]["fields"]
    assert (field["path"], field["before"], field["after"], field["by"]) == ("spec.labels.team", "a", "z", "carol")
    (warning,) = said.json["diagnostics"]
    assert warning["code"] == "not_previewed"
    assert warning["detail"] == f"it needs patch and create on jobs.batch in namespace {play.namespace}"
    human = play.run("plan")
    once(human, "was not asked what the changes would do")
    assert "carol" in human.stdout
    assert play.run("plan", "--detailed-exitcode", "--select", "same").exit == 0
    assert play.run("plan", "--detailed-exitcode", "--select", "fresh").exit == 2

    looked = play.run("status", "--format", "json")
    assert {row["phase"] for row in looked.json["jobs"]} == {"running"}
    secretive(kubeconfig, said, human, looked, *_is_refused(play))


def _is_refused(play: Stage) -> list[Result]:
    """Every command that would change something fails, says what is missing, and changes nothing."""
    before = _made(play)
    applied = play.run("apply", "--auto-approve", "--detach", "--exclude", "bigger")
    assert applied.exit == 7, applied
    for address in ("changed", "drifted", "fresh", "whole"):
        why = rf'in {address}\n.*403 Forbidden: .*cannot patch resource "jobs" in API group "batch"'
        assert re.search(why, applied.stderr), applied
    once(applied, "was not asked what the changes would do")
    cancelled = play.run("cancel", "same")
    assert cancelled.exit == 1, cancelled
    assert 'cannot delete resource "jobs"' in cancelled.stderr
    assert _made(play) == before
    return [applied, cancelled]


def _made(play: Stage) -> dict[str, Any]:
    """What people make of the namespace's Jobs; their status is the controller's."""
    keys = ("uid", "generation", "labels", "annotations", "deletionTimestamp")
    return {
        job["metadata"]["name"]: ({key: job["metadata"].get(key) for key in keys}, job["spec"])
        for job in play.api.items(play.path)
    }


def test_logs_need_no_more_than_reading(real: Project, use: Any) -> None:
    real.write({"short": shell("echo said"), "long": shell("echo begun; sleep 600")})
    real.ok("apply", "--auto-approve", "--detach")
    real.until(lambda seen: seen["short"]["phase"] == "succeeded" and seen["long"]["phase"] == "running")
    real.printed("long", "begun")
    use(real, reading())
    assert real.ok("logs", "short") == "said\n"
    assert real.ok("logs", "long") == "begun\n"


# --- the shipped role


def test_every_right_that_is_shipped_is_used_and_no_other_is_wanted(real: Project, use: Any) -> None:
    """By the server's own log of one project that uses everything."""
    real.environ["JOBFORM_SECRET_KEY"] = "hunter2-and-then-some"
    kubeconfig = use(real, shipped())
    jobs = {
        "plain": shell("echo one", ttl="1h"), "pair": shell('echo "rank $NODE_RANK"', nodes=2),
        "keeps": shell('echo "$KEY"', env={"KEY": "{{ secret('KEY') }}"}), "whole": _with_settings("1"),
    }
    real.write(jobs)
    said = [real.run("apply", "--auto-approve")]
    assert said[0].exit == 0, said[0]
    assert real.ok("logs", "plain") == "one\n"
    waiting = {
        "late-pair": shell("echo", nodes=2), "late-keeps": shell("echo", env={"KEY": "{{ secret('KEY') }}"}),
        "late-device": shell("echo", claims={"gpu": {"device_class": "gpu.example.com"}}),
    }
    jobs |= {name: {**job, "needs": ["whole"]} for name, job in waiting.items()} | {
        "whole": _with_settings("2"), "long": shell("sleep 600", labels={"team": "a"}),
        "device": shell("echo none", claims={"gpu": {"device_class": "gpu.example.com"}}),
        **{name: _with_settings("1", name, suspend=True) for name in ("more", "many", "most")},
    }
    real.write(jobs)
    real.ok("apply", "--auto-approve", "--detach")
    api, counted = real.cluster.api, "count/jobs.batch"
    forbid(api, real.namespace, "none", counted)  # no plan foresees what comes between it and the start of a job that waited
    real.until(lambda seen: seen["long"]["phase"] == "running" and seen["whole"]["phase"] == "succeeded")
    late = real.run("advance")
    assert late.exit == 7, late
    assert late.stderr.count("exceeded quota: none") == len(waiting), late
    beside = [each["metadata"]["name"] for each in real.objects("secrets", "services")]
    assert not [name for name in beside if name.startswith("late")], "what was made for them is taken back"
    allow(api, real.namespace, "none", counted, 0)
    jobs["long"] = shell("sleep 600", labels={"team": "b"})
    real.write(jobs)
    said += [real.run("apply", "--auto-approve", "--detach"), real.run("cancel", "long")]
    said += [real.run("destroy", "--auto-approve", "--allow-cancel", "*")]
    assert [each.exit for each in said] == [0, 0, 0, 0], said
    real.gone("jobs", "pods", "services", "secrets", "configmaps")
    secretive(kubeconfig, *said)

    used, refused = _used(real)
    with_a_queue = {("localqueues", "get"), ("workloads", "list"), ("localqueues/pendingworkloads", "get")}
    unused = rights_in(shipped()) - used - with_a_queue  # what is suspended is looked for there once another test has made Kueue
    assert unused == {("events", "list")}, "this is not logged"
    assert refused <= used, "but for the quota, nothing was refused"


def _with_settings(value: str, name: str = "whole", **spec: Any) -> Object:
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": value}}
    job = document(name, **spec)
    container = job["spec"]["template"]["spec"]["containers"][0]
    container |= {"imagePullPolicy": "Never", "command": ["sh", "-c", "echo $VALUE"]}
    container["envFrom"] = [{"configMapRef": {"name": name}}]
    return inline(settings, job)


def _used(project: Project) -> tuple[set[Right], set[Right]]:
    """The rights that the account used, and those that it lacked. An apply that makes an object uses two."""
    used: set[Right] = set()
    refused: set[Right] = set()
    for event in audit.read(project.cluster.folder):
        if event.user != user_name(project.namespace):
            continue
        resource = "/".join(part for part in (event.resource, event.subresource) if part)
        (refused if event.status == 403 else used).add((resource, event.verb))
        if event.verb == "patch" and event.status == 201:
            used.add((resource, "create"))
    return used, refused


@pytest.mark.parametrize(("right", "arguments", "exit_code", "told"), [
    (("jobs", "create"), ("apply", "--auto-approve", "--detach"), 7, 'cannot create resource "jobs"'),
    (("jobs", "patch"), ("apply", "--auto-approve", "--detach"), 7, 'cannot patch resource "jobs"'),
    (("jobs", "delete"), ("cancel", "one"), 1, 'cannot delete resource "jobs"'),
    (("jobs", "list"), ("status",), 0, 'cannot list resource "jobs"'),
    (("jobs", "get"), ("cancel", "one"), 1, 'cannot get resource "jobs"'),
    (("pods", "list"), ("status",), 0, 'cannot list resource "pods"'),
    (("services", "patch"), ("apply", "--auto-approve", "--detach"), 7, 'cannot patch resource "services"'),
    (("configmaps", "create"), ("apply", "--auto-approve", "--detach"), 7, 'cannot create resource "configmaps"'),
    (("secrets", "get"), ("apply", "--auto-approve", "--detach"), 7, 'cannot get resource "secrets"'),
])
def test_a_right_that_is_missing_is_named(
    stage: Stage, use: Any, right: Right, arguments: tuple[str, ...], exit_code: int, told: str,
) -> None:
    stage.environ["JOBFORM_SECRET_KEY"] = "hunter2-and-then-some"
    stage.declare({name: image_job() for name in ("one", "two", "three")})
    stage.begin()
    stage.declare({name: image_job() for name in ("one", "two", "three")} | {
        "more": image_job(), "pair": image_job(nodes=2), "whole": _with_settings("1"),
        "keeps": image_job(env={"KEY": "{{ secret('KEY') }}"}),
    })
    use(stage, without(right))
    said = stage.run(*arguments)
    assert said.exit == exit_code, said
    assert told in said.stderr, said


def test_without_watch_an_apply_asks_until_all_has_ended(play: Stage, use: Any) -> None:
    play.declare({"one": image_job(""), "two": image_job("exit", code=3), "three": inline(document(end=""))})
    use(play, without(("jobs", "watch"), ("pods", "watch")))
    said = play.finish(expect=8)
    assert "watch" not in said.stderr, said
    phases = {name: row["phase"] for name, row in play.status().items()}
    assert phases == {"one": "succeeded", "two": "failed", "three": "succeeded"}


def test_what_only_events_and_queues_tell_is_told_to_who_may_read_them(play: Stage, use: Any) -> None:
    install(play.api)
    forbid(play.api, play.namespace, "none", "pods")
    with Kueue(play.cluster, play.namespace, hold=True) as kueue:
        assert kueue
        play.declare({"stuck": image_job(), "held": image_job(queue="q", resources={"gpu": {"count": 1}})})
        use(play, shipped())
        play.begin()
        play.until(lambda seen: "exceeded quota" in seen["stuck"]["detail"] and "queue q" in seen["held"]["detail"])
        play.declare({"lost": image_job(queue="nowhere")})
        assert "there is no LocalQueue nowhere" in play.run("plan").stdout
        use(play, without(("events", "list"), ("workloads", "list"), ("localqueues", "get")))
        seen = play.status()
        assert seen["stuck"]["detail"] == "waiting for its pods to be made"
        assert "it may not be read" in seen["held"]["detail"]
        assert "LocalQueue" not in play.run("plan").stdout


def test_who_may_not_read_namespaces_is_told_what_is_not_known(stage: Stage, use: Any) -> None:
    stage.declare({"one": image_job()})
    use(stage, shipped())
    stage.begin()
    known = stage.state()["jobs"]["one"]["scope"]
    assert known.count('"uid"') == 2, "of the cluster and of the namespace"
    use(stage, [document for document in without(("namespaces", "get")) if "Cluster" not in document["kind"]])
    stage.plan()
    stage.declare({"one": image_job(), "two": image_job()})
    stage.begin()
    assert stage.state()["jobs"]["two"]["scope"].count('"uid"') == 0
    assert stage.plan()["changes"]
