"""Which cluster, as whom: what commands do when that is not what it was, cannot be known, or is not allowed."""

import base64
import os
import pty
import shutil
import subprocess
import termios
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.cluster import Cluster
from tests.cluster.proxy import Proxy
from tests.kubernetes.project import JOBFORM
from tests.kubernetes.rights import account, bearer, reading, shipped, without
from tests.kubernetes.stage import Stage, image_job
from tests.support import Result, environ_for

ELSEWHERE = "https://nowhere.invalid:6443"
TOKEN = "hunter2-hunter2-hunter2"


def one_error(said: Result, *texts: str, exit_code: int = 1) -> None:
    """It failed with a single diagnostic that has these texts, and printed neither a plan nor a stack of calls."""
    assert said.exit == exit_code, said
    assert said.stdout == "", said
    assert said.stderr.count("error[") == 1, said
    assert "Traceback" not in said.stderr, said
    for text in texts:
        assert text in said.stderr, said


def edited(kubeconfig: str | Path, path: Path, *, user: Mapping[str, Any] | None = None, **cluster: Any) -> str:
    """A copy of a kubeconfig with another user, or with other keys of its cluster."""
    content = yaml.safe_load(Path(kubeconfig).read_text())
    if user is not None:
        content["users"][0]["user"] = dict(user)
    content["clusters"][0]["cluster"] |= cluster
    path.write_text(yaml.safe_dump(content))
    return str(path)


def plugin(script: str, **more: Any) -> dict[str, Any]:
    """A user whose credentials a shell script prints."""
    version = "client.authentication.k8s.io/v1"
    return {"exec": {"apiVersion": version, "command": "sh", "args": ["-c", script], "interactiveMode": "IfAvailable", **more}}


# --- another place under the same name


def test_a_context_that_was_pointed_to_another_cluster_is_refused_while_a_job_lives(play: Stage, own_cluster: Cluster) -> None:
    play.settings = {"context": "test"}
    play.declare({"lives": image_job(), "ended": image_job("")})
    play.begin()
    play.reach({"lives": "running", "ended": "succeeded"})
    assert play.run("advance").exit == 2, "the end is recorded, the other goes on"
    own_cluster.namespace(name=play.namespace)
    here = Path(play.environ["KUBECONFIG"])
    before, there = here.read_text(), own_cluster.kubeconfig_for("admin", namespace=play.namespace)
    here.write_text(there.read_text())
    declared = {"lives": image_job(), "ended": image_job(""), "fresh": image_job()}
    play.declare(declared)
    for command in ("plan", "plan --format json", "apply --auto-approve", "cancel lives", "destroy --auto-approve"):
        said = play.run(*command.split())
        assert said.exit == 1, said
        assert said.stderr.count("error[other_scope]") == said.stderr.count("error[") == 1, said
        assert "lives runs somewhere else" in said.stderr, said
        assert f"context test of {here}" in said.stderr, said
        assert "fresh" not in said.stdout, said
    assert not own_cluster.api.items(play.path), "nothing was made there"
    here.write_text(before)
    play.let_end("lives")
    play.reach({"lives": "succeeded"})
    assert play.run("advance").exit == 0
    here.write_text(there.read_text())
    changes = {each["address"]: (each["action"], each["reason"]) for each in play.plan(expect=2)["changes"]}
    assert changes["fresh"] == ("create", "new")
    assert changes["lives"][0] == changes["ended"][0] == "no-op"


def test_a_namespace_that_was_made_anew_is_another_place(stage: Stage) -> None:
    stage.declare({"lives": image_job()})
    stage.begin()
    path = f"/api/v1/namespaces/{stage.namespace}"
    stage.api.delete(f"{stage.path}/{stage.live('lives')['metadata']['name']}")  # an empty namespace goes at once
    stage.gone()
    stage.cluster.drop(stage.namespace)
    stage.api.wait(path, lambda found: found is None, what="the namespace to be gone")
    one_error(stage.run("plan"), f"namespace {stage.namespace} does not exist", f"kubectl create namespace {stage.namespace}")
    stage.cluster.namespace(name=stage.namespace)
    one_error(stage.run("plan"), "other_scope", "lives runs somewhere else", "the namespace from the setting `namespace`")
    one_error(stage.run("apply", "--auto-approve"), "other_scope")


def test_one_cluster_is_known_by_each_of_its_addresses_if_its_uid_may_be_read(stage: Stage, proxy: Proxy, tmp_path: Path) -> None:
    stage.declare({"lives": image_job()})
    stage.begin()
    authority = base64.b64encode(proxy.access.authority.encode()).decode()
    by_proxy = {"server": proxy.access.server, "certificate-authority-data": authority}
    direct = stage.environ["KUBECONFIG"]
    stage.environ["KUBECONFIG"] = edited(direct, tmp_path / "admin", **by_proxy)
    stage.plan()
    with account(stage.cluster, stage.namespace, reading(), tmp_path) as reader:
        stage.environ["KUBECONFIG"] = str(reader)
        stage.plan()
        stage.environ["KUBECONFIG"] = edited(reader, tmp_path / "reader", **by_proxy)
        one_error(stage.run("plan"), "other_scope", "namespace kube-system may not be read, so its uid is not known")
    with account(stage.cluster, stage.namespace, shipped(), tmp_path) as applier:
        stage.environ["KUBECONFIG"] = edited(applier, tmp_path / "applier", **by_proxy)
        stage.plan()
    nameless = [document for document in without(("namespaces", "get")) if "Cluster" not in document["kind"]]
    stage.declare({"lives": image_job(), "more": image_job()})
    with account(stage.cluster, stage.namespace, nameless, tmp_path) as applier:  # it records less than the others know
        stage.environ["KUBECONFIG"] = str(applier)
        stage.begin()
    stage.environ["KUBECONFIG"] = direct
    stage.plan()


# --- no place at all


def test_what_is_wrong_with_credentials_is_one_diagnostic_without_them(stage: Stage, tmp_path: Path) -> None:
    stage.settings = {"context": "test"}
    stage.declare({"lives": image_job()})
    stage.begin()
    good = stage.environ["KUBECONFIG"]

    def written(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    def of(name: str, **user: Any) -> str:
        return edited(good, tmp_path / name, user=user)

    cases: list[tuple[str, Mapping[str, str], tuple[str, ...]]] = [
        ("/nonexistent/config", {}, ("no file of KUBECONFIG=/nonexistent/config exists",)),
        (written("broken", b"clusters: [a"), {}, ("broken cannot be used: not YAML, line 2",)),
        (written("empty", b""), {}, ("empty", "is empty")),
        (written("text", b"just words"), {}, ("text cannot be used: its content is not that of a kubeconfig",)),
        (written("bytes", b"\x00\xff\xfe"), {}, ("bytes cannot be used",)),
        (of("expired", token=TOKEN), {}, ("401 Unauthorized", "does not accept user test", "log in again")),
        (of("pair", **{"client-certificate-data": "bm90aGluZw==", "client-key-data": "bm90aGluZw=="}), {}, ("cannot be used",)),
        (of("files", **{"client-certificate": "/nonexistent.crt", "client-key": "/nonexistent.key"}), {}, ("cannot be used",)),
        (edited(good, tmp_path / "plug-fails", user=plugin(f"echo Bearer {TOKEN} is over >&2; exit 4")), {},
         ("the credential plug-in sh of context test", "it exited with 4: *** is over")),
        (edited(good, tmp_path / "plug-talks", user=plugin(f"echo {TOKEN}")), {}, ("it printed something that is no JSON",)),
        (edited(good, tmp_path / "plug-asks", user=plugin("read answer && exit 5; exit 6")), {}, ("it exited with 6",)),
        (edited(good, tmp_path / "plug-must", user=plugin("exit 5", interactiveMode="Always")), {}, ("there is no terminal",)),
        (edited(good, tmp_path / "far", server=ELSEWHERE), {"HTTPS_PROXY": f"http://user:{TOKEN}@127.0.0.1:9"},
         ("cannot connect to nowhere.invalid:6443 through the proxy 127.0.0.1",)),
        (edited(good, tmp_path / "direct", server=ELSEWHERE), {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": ".invalid"},
         ("cannot connect to nowhere.invalid:6443 (context test",)),
        (edited(good, tmp_path / "self-made", **{"certificate-authority-data": None}), {}, ("no trusted connection to",)),
    ]
    for kubeconfig, environ, texts in cases:
        said = stage.run("plan", JOBFORM_LOG="debug", **{"KUBECONFIG": kubeconfig, **environ})
        one_error(said, "scope_not_proven", *texts)
        for secret in (TOKEN, bearer(Path(good))):
            assert secret not in said.stderr, said
    stage.settings["login_timeout"] = "1s"
    stage.declare({"lives": image_job()})
    hangs = edited(good, tmp_path / "plug-hangs", user=plugin("sleep 60"))
    one_error(stage.run("plan", KUBECONFIG=hangs), "scope_not_proven", "it gave no answer in 1 s")
    assert stage.run("plan", HTTPS_PROXY="http://127.0.0.1:9").exit == 0, "loopback is never asked through a proxy"
    stage.plan()


def test_the_command_line_may_name_another_place_and_approval_is_for_that_place(stage: Stage) -> None:
    stage.settings = {"context": "test"}
    stage.declare({"one": image_job()})
    one_error(stage.run("plan", "--context", "tset"), "has no context tset", "did you mean test? it has: test")
    one_error(stage.run("plan", "--namespace", "kube-systm"), "namespace kube-systm does not exist", "kubectl create namespace ")
    other = stage.cluster.namespace()
    digest = stage.plan("--namespace", other, expect=2)["digest"]
    assert digest != stage.plan(expect=2)["digest"]
    refused = stage.run("apply", "--detach", "--approved", digest)
    assert refused.exit == 6, refused
    assert not stage.api.items(stage.path)
    assert stage.run("apply", "--detach", "--approved", digest, "--namespace", other, "--context", "test").exit == 0
    assert len(stage.api.items(stage.path.replace(stage.namespace, other))) == 1
    assert not stage.api.items(stage.path)
    one_error(stage.run("plan"), "other_scope", "one runs somewhere else")
    stage.plan("--namespace", other)
    stage.cluster.drop(other)


def test_a_project_without_such_a_backend_has_no_context_to_name(stage: Stage) -> None:
    stage.directory.mkdir()
    (stage.directory / "jobform.yaml").write_text("jobform: 1\nproject: p\nbackends: {here: {type: local}}\n")
    said = stage.run("plan", "--context", "x")
    assert said.exit == 64, said
    assert "no backend of this project has a setting `context`" in said.stderr


# --- inside the cluster, and credentials that are fetched


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs a mount namespace of its own")
def test_inside_a_pod_its_service_account_is_used(stage: Stage, tmp_path: Path) -> None:
    """The files are where a kubelet puts them, for this command alone."""
    stage.declare({"one": image_job()})
    stage.write({"one": image_job()}, settings={"in_cluster": True})
    with account(stage.cluster, stage.namespace, shipped(), tmp_path) as kubeconfig:
        files = tmp_path / "serviceaccount"
        files.mkdir()
        (files / "token").write_text(bearer(kubeconfig))
        (files / "ca.crt").write_text(stage.cluster.access.authority)
        (files / "namespace").write_text(stage.namespace)
        host, _, port = stage.cluster.access.server.removeprefix("https://").rpartition(":")
        place = "/run/secrets/kubernetes.io/serviceaccount"
        script = f'mount -t tmpfs none /run && mkdir -p {place} && cp "$0"/* {place} && exec "$@"'
        said = subprocess.run(
            ["unshare", "-m", "sh", "-c", script, str(files), str(JOBFORM), "apply", "--auto-approve", "--detach"],
            cwd=stage.directory, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
            env=environ_for({"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}, None),
        )
        assert said.returncode == 0, said
        assert bearer(kubeconfig) not in said.stdout + said.stderr
        assert stage.state()["jobs"]["one"]["scope"].count('"uid"') == 2
        assert len(stage.api.items(stage.path)) == 1
        outside = stage.run("plan")
        one_error(outside, "this is not inside a cluster")


def test_a_plugin_gives_the_token_and_nobody_sees_it(stage: Stage, tmp_path: Path) -> None:
    stage.declare({"one": image_job()})
    token = stage.cluster.access.token
    answer = '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "%s"}}'
    script = f"echo asked >> {tmp_path}/asked; echo '{answer % token}'"
    stage.environ["KUBECONFIG"] = edited(stage.environ["KUBECONFIG"], tmp_path / "plug", user=plugin(script))
    said = [stage.begin(), stage.run("plan", "--detailed-exitcode", JOBFORM_LOG="debug"), stage.run("status", "--format", "json")]
    assert [each.exit for each in said] == [0, 0, 0]
    assert (tmp_path / "asked").read_text().count("asked") == 3, "once for each command"
    for each in said:
        assert token not in each.stdout + each.stderr
    found = [path for path in stage.directory.rglob("*") if path.is_file() and token in path.read_text(errors="replace")]
    assert not found




def all_of(master: int) -> bytes:
    """What was written to a terminal that everybody has closed: it comes in pieces."""
    said = b""
    while True:
        try:
            piece = os.read(master, 1 << 16)
        except OSError:  # how Linux says that it is the end
            return said
        if not piece:
            return said
        said += piece


@pytest.mark.parametrize(("arguments", "environ", "asks"), [
    (("plan",), {}, True), (("plan",), {"CI": "true"}, False),
    (("apply", "--auto-approve", "--detach"), {}, True), (("apply", "--auto-approve", "--detach", "--no-input"), {}, False),
])
def test_a_plugin_asks_on_a_terminal_only_where_somebody_may_be_asked(
    stage: Stage, tmp_path: Path, arguments: tuple[str, ...], environ: Mapping[str, str], asks: bool,
) -> None:
    stage.declare({"one": image_job()})
    answer = '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "\'$password\'"}}'
    script = f"printf 'Password: ' >&2; read password || exit 9; echo '{answer}'"
    kubeconfig = edited(stage.environ["KUBECONFIG"], tmp_path / "plug", user=plugin(script))
    master, terminal = pty.openpty()
    quiet = termios.tcgetattr(terminal)
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSANOW, quiet)
    surroundings = {key: value for key, value in environ_for(None, None).items() if key != "CI"}
    os.write(master, f"{stage.cluster.access.token}\n".encode())
    done = subprocess.run(
        [str(JOBFORM), *arguments], cwd=stage.directory, stdin=terminal, stdout=subprocess.PIPE, stderr=terminal, text=True,
        timeout=120, env={**surroundings, **environ, "KUBECONFIG": kubeconfig},
    )
    os.close(terminal)
    said = all_of(master).decode()
    os.close(master)
    if asks:
        assert done.returncode == 0, (done, said)
        assert said.startswith("Password: ")
        assert "one will be created" in done.stdout
    else:
        assert done.returncode == 1, (done, said)
        assert "it exited with 9: Password:" in said
    assert stage.cluster.access.token not in done.stdout + said
