"""What jobs print in a real cluster, while they run and after, and when the connection is lost."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from jobform.backends.kubernetes import log_follow, logs
from jobform.backends.kubernetes.backend import KubernetesBackend
from jobform.backends.kubernetes.refs import JobRef
from jobform.clients.kube.client import KubeClient
from jobform.model.errors import BackendError
from jobform.model.state import ENDED
from jobform.protocols import LogOptions, LogSource, Ref
from tests.backends.kubernetes.desk import Desk, manifest
from tests.cluster.cluster import Cluster
from tests.cluster.images import BUSYBOX
from tests.cluster.proxy import RESET_BEFORE, Proxy


@pytest.fixture
def real(node: Cluster, node_namespace: str) -> Iterator[Desk]:
    """A backend whose pods run."""
    desk = Desk(node, node_namespace)
    yield desk
    desk.close()


def shell(script: str, **more: Any) -> dict[str, Any]:
    return {"image": BUSYBOX, "command": ["sh", "-c", script], "retries": 0, **more}


def source(desk: Desk) -> KubernetesBackend:
    backend = desk.backend
    assert isinstance(backend, KubernetesBackend)
    assert isinstance(backend, LogSource)
    return backend


def read(desk: Desk, ref: Ref, **options: Any) -> tuple[list[str], list[str]]:
    """The lines, and what people were told meanwhile."""
    told: list[str] = []
    data = b"".join(source(desk).logs(ref, LogOptions(tell=told.append, **options)))
    assert data == b"" or data.endswith(b"\n")
    return data.decode().splitlines(), told


class Following:
    """`logs -f` in a thread of its own."""

    def __init__(self, desk: Desk, ref: Ref, **options: Any) -> None:
        self.lines: list[str] = []
        self.told: list[str] = []
        self.error: BackendError | None = None
        self._chunks = source(desk).logs(ref, LogOptions(follow=True, tell=self.told.append, **options))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for chunk in self._chunks:
                self.lines += chunk.decode().splitlines()
        except BackendError as error:
            self.error = error

    def see(self, text: str, seconds: float = 120.0) -> None:
        until(lambda: any(text in line for line in (*self.lines, *self.told)), f"{text} in {self.lines} {self.told}", seconds)

    def end(self, seconds: float = 120.0) -> list[str]:
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"it goes on: {self.lines} {self.told}"
        if self.error:
            raise self.error
        return self.lines


def until(true: Any, why: str, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, why
        time.sleep(0.05)


def reach_end(desk: Desk, ref: Ref) -> None:
    end = time.monotonic() + 120
    while desk.actual(ref).phase not in ENDED:
        assert time.monotonic() < end, desk.actual(ref)
        time.sleep(0.1)


def test_the_output_of_one_container(real: Desk) -> None:
    ref = real.submit(shell("echo err >&2; sleep 0.2; for i in 1 2 3; do echo line $i; done; printf last; sleep 0.2"))
    reach_end(real, ref)
    lines, told = read(real, ref)
    assert sorted(lines) == ["err", "last", "line 1", "line 2", "line 3"]
    assert told == []
    assert read(real, ref, tail=2)[0] == lines[-2:]
    assert read(real, ref, since=3600.0)[0] == lines
    time.sleep(1.2)
    assert read(real, ref, since=1.0)[0] == []
    assert read(real, ref, container="main")[0] == lines
    assert read(real, ref, follow=True)[0] == lines
    assert source(real).kept(ref, 65536).decode().splitlines() == lines


def test_a_program_that_is_silent_for_long_is_followed_to_its_end(real: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = KubeClient.stream
    monkeypatch.setattr(KubeClient, "stream", lambda client, path, query=None: whole(client, path, query, idle=1.0))
    monkeypatch.setattr(log_follow, "_PATIENCE", 0.5)
    ref = real.submit(shell("echo one; sleep 5; echo two"))
    following = Following(real, ref)
    assert following.end() == ["one", "two"], following.told
    assert not [text for text in following.told if "could not be read" in text]


@pytest.mark.parametrize(("options", "words"), [
    ({"container": "other"}, r"has no container 'other'"), ({"index": 0}, "the pods of Job .* have no index"),
    ({"follow": True, "previous": True}, "cannot be followed"),
])
def test_what_a_run_does_not_have_is_refused(real: Desk, options: dict[str, Any], words: str) -> None:
    ref = real.submit(shell("true"))
    reach_end(real, ref)
    with pytest.raises(BackendError, match=words):
        read(real, ref, **options)


def test_several_pods_are_told_apart_in_order(real: Desk) -> None:
    ref = real.submit(shell("echo I am $JOB_COMPLETION_INDEX; sleep 0.3; echo done", completions=3, parallelism=3, indexed=True))
    following = Following(real, ref)
    name = JobRef.parse(ref).name
    reach_end(real, ref)
    lines, _ = read(real, ref)
    assert lines == [f"[{name}-{n} main] {text}" for n in range(3) for text in (f"I am {n}", "done")]
    assert sorted(following.end()) == sorted(lines)
    assert read(real, ref, index=1) == (["I am 1", "done"], [])
    assert read(real, ref, index=7) == ([], [f"Job {real.namespace}/{name} has no such pod now"])
    kept = source(real).kept(ref, 65536).decode()
    assert kept == "".join(f"==> {name}-{n} main <==\nI am {n}\ndone\n" for n in range(3))


def test_following_meets_pods_that_come_later_and_ends_with_the_run(real: Desk) -> None:
    """One pod at a time: the second begins when the first has ended."""
    template = {"spec": {"restartPolicy": "Never", "containers": [{
        "name": "main", "image": BUSYBOX, "command": ["sh", "-c", "echo begin $JOB_COMPLETION_INDEX; sleep 1; echo end"],
    }]}}
    ref = real.submit(manifest(
        template=template, completions=2, parallelism=1, completionMode="Indexed", backoffLimit=0, suspend=True,
    ))
    following, name = Following(real, ref), JobRef.parse(ref).name
    following.see("has no pod yet")
    real.api.merge(f"{real.jobs}/{name}", {"spec": {"suspend": False}})
    assert following.end() == [f"[{name}-{n} main] {text}" for n in (0, 1) for text in (f"begin {n}", "end")]


def test_following_goes_on_after_a_restart_and_a_new_pod(real: Desk) -> None:
    """A container that fails is started again in its pod; the second pod of a job that retries is another one."""
    script = "[ -e /v/x ] || { touch /v/x; echo first; exit 3; }; echo second; until [ -e /v/end ]; do sleep 0.1; done"
    spec = manifest(template={"spec": {"restartPolicy": "OnFailure", "volumes": [{"name": "v", "emptyDir": {}}], "containers": [{
        "name": "main", "image": BUSYBOX, "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        "command": ["sh", "-c", script],
    }]}}, backoffLimit=4)
    ref = real.submit(spec)
    following = Following(real, ref)
    following.see("second")
    assert read(real, ref, previous=True) == (["first"], [])
    pod = real.pod(ref)["metadata"]["uid"]  # it goes on until now: of a pod that has ended the kubelet removes old containers
    (real.cluster.folder / "node" / "kubelet" / "pods" / pod / "volumes" / "kubernetes.io~empty-dir" / "v" / "end").touch()
    assert following.end() == ["first", "second"]

    again = real.submit(shell("echo try; sleep 0.5; exit 1", retries=1), address="again")
    following = Following(real, again)
    lines = following.end()
    assert [line.rpartition(" ")[2] for line in lines] == ["try", "try"]
    assert lines[1].startswith("["), "from the second pod on, they are told apart"


def test_what_has_not_started_is_said_once_and_waited_for(real: Desk) -> None:
    ref = real.submit(manifest(template={"spec": {"restartPolicy": "Never", "containers": [{
        "name": "main", "image": BUSYBOX, "command": ["sh", "-c", "echo here"],
        "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "later", "key": "a"}}}],
    }]}}))
    real.until(lambda: real.actual(ref), lambda actual: 'configmap "later" not found' in actual.detail)
    lines, told = read(real, ref)
    assert lines == []
    assert len(told) == 1
    assert 'waiting to start: CreateContainerConfigError: configmap "later" not found' in told[0]
    following = Following(real, ref)
    following.see("CreateContainerConfigError")
    time.sleep(2.5)
    assert len([text for text in following.told if "CreateContainerConfigError" in text]) == 1
    real.api.create(f"/api/v1/namespaces/{real.namespace}/configmaps", {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "later"}, "data": {"a": "1"},
    })
    assert following.end() == ["here"]


def test_a_run_without_pods_says_so(desk: Desk) -> None:
    """Its pods stay pending: nothing takes them."""
    ref = desk.submit(shell("true"))
    desk.pod(ref)
    lines, told = read(desk, ref)
    assert (lines, len(told)) == ([], 1)
    assert "waiting to start: " in told[0]
    assert source(desk).kept(ref, 65536) == b""


def test_what_is_gone_has_no_output(real: Desk) -> None:
    ref = real.submit(shell("trap 'exit 0' TERM; echo begun; sleep 600 & wait"))
    following = Following(real, ref)
    following.see("begun")
    real.backend.cancel(ref, only_if_waiting=False)
    assert following.end() == ["begun"]
    real.until(lambda: real.pods_of(ref), lambda pods: not pods)
    assert read(real, ref) == ([], [])
    assert read(real, ref, follow=True) == ([], [])
    assert source(real).kept(ref, 65536) == b""


def test_a_connection_that_is_cut_again_and_again_costs_no_line_and_doubles_none(real: Desk, proxy: Proxy) -> None:
    """Ten lines a second, and the line is cut in between, once for longer."""
    ref = real.submit(shell("i=0; while [ $i -lt 60 ]; do echo line $i; i=$((i+1)); sleep 0.1; done"))
    following = Following(Desk(real.cluster, real.namespace, access=proxy.access), ref)
    for n in (3, 12, 25):
        following.see(f"line {n}")
        proxy._server.cut()
    following.see("line 26")
    outage = proxy.rule(RESET_BEFORE, count=-1)
    proxy._server.cut()
    time.sleep(3)
    outage.count = outage.hits
    assert following.end() == [f"line {n}" for n in range(60)]


def test_a_viewer_without_the_right_to_logs_is_told_so(real: Desk) -> None:
    ref = real.submit(shell("echo x"))
    reach_end(real, ref)
    nobody = Desk(real.cluster, real.namespace, user="nobody")
    for follow in (False, True):
        with pytest.raises(BackendError, match="could not be read") as caught:
            read(nobody, ref, follow=follow)
        assert "403" in caught.value.detail
    with pytest.raises(BackendError, match="could not be read"):
        source(nobody).kept(ref, 100)


def test_leaving_early_ends_every_thread(real: Desk) -> None:
    ref = real.submit(shell("while :; do echo x; sleep 0.1; done", completions=2, parallelism=2, indexed=True))
    chunks = source(real).logs(ref, LogOptions(follow=True))
    assert next(chunks)
    chunks.close()  # type: ignore[attr-defined]  # it is a generator
    until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("log-")], "threads are left")


def test_a_flood_is_shown_whole_and_kept_in_part(real: Desk) -> None:
    ref = real.submit(shell("i=0; while [ $i -lt 30000 ]; do echo $i; i=$((i+1)); done; echo 'end of it'; sleep 2"))
    following = Following(real, ref)
    assert following.end() == [*map(str, range(30000)), "end of it"]
    kept = source(real).kept(ref, 65536)
    assert 60000 < len(kept) <= 65536
    assert kept.endswith(b"\n29999\nend of it\n")
    first = int(kept.partition(b"\n")[0])
    assert kept.splitlines()[:-1] == [b"%d" % n for n in range(first, 30000)], "whole lines, none missing"


def test_many_containers_share_the_room(real: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "KEPT_IN_ALL", 3000)
    script = "i=0; while [ $i -lt 300 ]; do echo $0 $i; i=$((i+1)); done"
    containers = [{"name": f"c{n}", "image": BUSYBOX, "command": ["sh", "-c", script, f"c{n}"]} for n in range(4)]
    ref = real.submit(manifest(template={"spec": {"restartPolicy": "Never", "containers": containers}}))
    reach_end(real, ref)
    kept = source(real).kept(ref, 65536).decode()
    heads = [line for line in kept.splitlines() if line.startswith("==>")]
    assert len(heads) == 3
    assert heads[-1] == "==> 2 more containers: nothing was kept of them <=="
    assert len(kept) < 3300
    assert kept.index("c0 299\n") < kept.index("c1 299\n")
    lines, _ = read(real, ref, tail=1)
    pod = real.pods_of(ref)[0]["metadata"]["name"]
    assert lines == [f"[{pod} c{n}] c{n} 299" for n in range(4)]


def test_more_containers_than_may_be_followed_take_turns(real: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_CONTAINERS", 1)
    ref = real.submit(shell("echo I am $JOB_COMPLETION_INDEX; sleep 1", completions=3, parallelism=3, indexed=True))
    following = Following(real, ref)
    lines = following.end()
    assert sorted(line.rpartition("] ")[2] for line in lines) == ["I am 0", "I am 1", "I am 2"]
    assert [text for text in following.told if text.startswith("more than 1 containers print at once")]


def test_a_pod_that_outlives_its_run_does_not_hold_the_end_up(real: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Played by a Job that succeeds by policy while another pod of it ignores its end."""
    monkeypatch.setattr(log_follow, "_GRACE", 1.0)
    ref = real.submit(shell("echo begun; sleep 1000"))
    following = Following(real, ref)
    following.see("begun")
    pod = real.pods_of(ref)[0]
    real.api.merge(f"{real.pods}/{pod['metadata']['name']}", {"metadata": {"finalizers": ["jobform.test/hold"]}})
    real.api.merge(f"{real.jobs}/{JobRef.parse(ref).name}", {"metadata": {"finalizers": []}})
    real.api.call("DELETE", f"{real.jobs}/{JobRef.parse(ref).name}", {"propagationPolicy": "Orphan"})
    try:
        assert following.end() == ["begun"]
    finally:
        real.api.merge(f"{real.pods}/{pod['metadata']['name']}", {"metadata": {"finalizers": []}})
        real.api.call("DELETE", f"{real.pods}/{pod['metadata']['name']}", {"gracePeriodSeconds": 0})
