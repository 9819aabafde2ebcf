"""Where the server and the credentials come from."""

import base64
import fcntl
import json
import os
import pty
import subprocess
import sys
import termios
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobform.clients.kube.client import KubeClient
from jobform.clients.kube.errors import KubeError
from jobform.clients.kube.login import Login, log_in
from jobform.clients.kube.settings import KubeSettings
from jobform.testing.clock import ManualClock
from tests.clients.kube.faulty import Faulty, Reply, Seen, reply, status
from tests.cluster.certificates import self_signed

PEM = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"


def write(path: Path, *, server: str = "https://one.invalid", user: Mapping[str, Any] | None = None, name: str = "c",
          current: str | None = "c", cluster: Mapping[str, Any] | None = None, context: Mapping[str, Any] | None = None) -> Path:
    content = {
        "apiVersion": "v1", "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, **(cluster or {})}}],
        "users": [{"name": name, "user": dict(user or {})}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, **(context or {})}}],
    }
    if current is not None:
        content["current-context"] = current
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))
    return path


def login(path: Path | None = None, environ: Mapping[str, str] | None = None, **settings: Any) -> Login:
    return log_in(KubeSettings(kubeconfig=str(path) if path else None, **settings), environ or {})


def refused(call: Callable[[], object]) -> KubeError:
    with pytest.raises(KubeError) as caught:
        call()
    assert caught.value.reason == "Credentials"
    return caught.value


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!{sys.executable}\n{textwrap.dedent(text)}")
    path.chmod(0o755)
    return path


def plugin(path: Path | str, **fields: Any) -> dict[str, Any]:
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(path), "interactiveMode": "Never", **fields}}


@pytest.fixture
def server() -> Iterator[Faulty]:
    one = Faulty([reply({"ok": True})])
    yield one
    one.close()


def test_the_home_of_the_given_environment_counts(tmp_path: Path) -> None:
    write(tmp_path / ".kube" / "config", context={"namespace": "team"})
    found = login(environ={"HOME": str(tmp_path)})
    assert (found.server, found.context, found.namespace) == ("https://one.invalid", "c", "team")
    assert found.source == f"context c of {tmp_path}/.kube/config"
    assert found.namespace_source == found.source
    assert login(environ={"HOME": str(tmp_path)}, namespace="other").namespace == "other"
    assert refused(lambda: login(environ={"HOME": str(tmp_path / "none")})).hint


def test_the_first_file_decides_as_for_kubectl(tmp_path: Path) -> None:
    one = write(tmp_path / "one", name="a", server="https://a.invalid", current="b")
    two = write(tmp_path / "two", name="b", server="https://b.invalid", current="a")
    listed = os.pathsep.join([str(tmp_path / "missing"), str(one), str(two)])
    assert login(environ={"KUBECONFIG": listed}).server == "https://b.invalid"
    assert login(environ={"KUBECONFIG": listed}, context="a").server == "https://a.invalid"
    assert login(two, {"KUBECONFIG": str(one)}, context="b").server == "https://b.invalid"


def test_relative_files_are_beside_the_file_that_names_them(tmp_path: Path) -> None:
    write(tmp_path / "one" / "config", name="a", user={"tokenFile": "token"}, current="b")
    (tmp_path / "one" / "token").write_text("wrong")
    write(tmp_path / "two" / "config", name="b", user={"tokenFile": "token"})
    (tmp_path / "two" / "token").write_text("right\n")
    found = login(environ={"KUBECONFIG": f"{tmp_path}/one/config{os.pathsep}{tmp_path}/two/config"})
    assert found.authorization() == "Bearer right"


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    one = write(tmp_path / "one")
    assert "has no context nope" in refused(lambda: login(one, context="nope")).message
    assert refused(lambda: login(one, context="nope")).hint == "it has: c"
    assert "does not exist" in refused(lambda: login(tmp_path / "none")).message
    assert "no file of KUBECONFIG" in refused(lambda: login(environ={"KUBECONFIG": "/nowhere/a"})).message
    assert "no current-context" in refused(lambda: login(write(tmp_path / "two", current=None))).message
    assert "no kubeconfig" in refused(lambda: login(context="x")).message


@pytest.mark.parametrize("text", [
    "", "[]", "a: b: c", "text", "contexts: 3\ncurrent-context: c", "current-context: c\ncontexts: [{name: c, context: {}}]",
    "current-context: c\ncontexts: [{name: c}]", "current-context: c\ncontexts: [{}]", "\x00", "&a [*a]",
    "current-context: c\ncontexts: [{name: c, context: {cluster: c}}]\nclusters: [{name: c, cluster: {}}]",
    "current-context: c\ncontexts: [{name: c, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: 'ftp://x'}}]",
])
def test_a_file_that_is_no_kubeconfig_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    error = refused(lambda: login(path))
    assert "\n" not in f"{error} {error.hint}"


def test_an_error_never_quotes_a_user(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("current-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n"
                    "clusters: [{name: c, cluster: {server: 'https://x', token: 'a}hunter2'}, extra: hunter2}]\n"
                    "users: [{name: u, user: {tokenFile: {a: 'hunter2'}, password: 'a}hunter2'}}]\n")
    assert "hunter2" not in str(refused(lambda: login(path)))


def test_a_token_of_two_lines_is_refused(tmp_path: Path) -> None:
    found = login(write(tmp_path / "c", user={"token": "a\nX-Header: b"}))
    assert "X-Header" not in str(refused(found.authorization))


def test_a_server_alone_needs_no_credentials() -> None:
    found = login(server="http://127.0.0.1:1")
    assert (found.authorization(), found.namespace, found.source) == ("", "default", "the setting `server`")


def test_a_server_takes_the_place_of_the_contexts_own(tmp_path: Path, server: Faulty) -> None:
    client = KubeClient.open(KubeSettings(kubeconfig=str(write(tmp_path / "c", user={"token": "t"})), server=server.url), {})
    client.get("/x")
    assert server.seen[0].headers["authorization"] == "Bearer t"


def test_a_path_before_the_api_is_kept(tmp_path: Path, server: Faulty) -> None:
    client = KubeClient.open(KubeSettings(kubeconfig=str(write(tmp_path / "c", server=f"{server.url}/k8s/clusters/x/"))), {})
    client.get("/version", {"a": True, "b": None})
    assert server.seen[0].path == "/k8s/clusters/x/version?a=true"


@pytest.mark.parametrize(("user", "header"), [
    ({"token": "t"}, "Bearer t"), ({"username": "u", "password": "p"}, "Basic " + base64.b64encode(b"u:p").decode()), ({}, None),
])
def test_plain_credentials(tmp_path: Path, server: Faulty, user: dict[str, str], header: str | None) -> None:
    KubeClient.open(KubeSettings(kubeconfig=str(write(tmp_path / "c", server=server.url, user=user))), {}).get("/x")
    assert server.seen[0].headers.get("authorization") == header


def test_impersonation_is_not_lost(tmp_path: Path, server: Faulty) -> None:
    user = {"token": "t", "as": "ci", "as-groups": ["a", "b"]}
    KubeClient.open(KubeSettings(kubeconfig=str(write(tmp_path / "c", server=server.url, user=user))), {}).get("/x")
    assert server.seen[0].headers["impersonate-user"] == "ci"
    assert server.seen[0].headers["impersonate-group"] in ("b", "a, b")  # sent twice; this server keeps the last


def test_impersonation_is_written_as_headers_can_hold_it(tmp_path: Path) -> None:
    user = {"as": "jörg", "as-user-extra": {"example.com/team": ["ü", "b"]}}
    headers = dict(login(write(tmp_path / "c", user=user)).headers)
    assert headers["Impersonate-User"].encode("latin-1").decode("utf-8") == "jörg"
    assert headers["Impersonate-Extra-example.com%2Fteam"] == "b"


@pytest.mark.parametrize("user", [
    {"as": "a\nX-Other: b"}, {"as-groups": "admins"}, {"as-groups": 3}, {"as-groups": ["a\x00"]}, {"as-user-extra": ["a"]},
    {"as-user-extra": {"a": "b"}}, {"as-user-extra": {3: ["b"]}}, {"client-certificate": "a\x00b"},
    {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "true", "args": 3}},
    {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "true", "args": "--all"}},
])
def test_a_user_of_another_shape_is_refused(tmp_path: Path, user: dict[str, Any]) -> None:
    path = write(tmp_path / "c", user=user)
    assert "\n" not in str(refused(lambda: login(path, {"PATH": os.environ["PATH"]})))


@pytest.mark.parametrize("url", [
    "http://[::1", "https://h:99999", "https://h:0", "https://h:x", "https://u:hunter2@h", "ftp://h", "h",
])
def test_a_server_that_is_no_url_is_refused(tmp_path: Path, url: str) -> None:
    for told in (refused(lambda: login(write(tmp_path / "c", server=url))), refused(lambda: login(server=url))):
        assert "hunter2" not in str(told)


def test_a_plugin_may_be_told_whatever_yaml_can_hold(tmp_path: Path) -> None:
    command = script(tmp_path / "plugin", COUNTING)
    cluster = {"extensions": ["odd", {"name": "client.authentication.k8s.io/exec", "extension": {"until": date(2030, 1, 1)}}]}
    user = plugin(command, args=["a"], env=[{"name": "PREFIX", "value": "p"}], provideClusterInfo=True)
    found = login(write(tmp_path / "c", user=user, cluster=cluster), {"PATH": os.environ["PATH"]})
    assert found.authorization() == "Bearer p--a-1"


def test_proxy_url_of_the_cluster_wins(tmp_path: Path, server: Faulty) -> None:
    path = write(tmp_path / "c", server="http://cluster.invalid", cluster={"proxy-url": server.url})
    KubeClient.open(KubeSettings(kubeconfig=str(path)), {"HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": "*"}).get("/x")
    assert server.seen[0].path == "http://cluster.invalid/x"


COUNTING = """
    import json, os, pathlib, sys
    count = pathlib.Path(__file__).with_suffix(".count")
    n = int(count.read_text() or 0) + 1 if count.exists() else 1
    count.write_text(str(n))
    info = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
    status = {"token": f"{os.environ['PREFIX']}-{os.environ.get('OUTER', '')}-{sys.argv[1]}-{n}"}
    if "EXPIRES" in os.environ:
        status["expirationTimestamp"] = os.environ["EXPIRES"]
    print(json.dumps({"apiVersion": info["apiVersion"], "kind": "ExecCredential", "status": status}))
"""


def counting(tmp_path: Path, **env: str) -> dict[str, Any]:
    path = script(tmp_path / "plugin", COUNTING)
    return plugin(path, args=["arg"], env=[{"name": k, "value": v} for k, v in {"PREFIX": "p", **env}.items()])


def test_a_plugin_runs_in_the_given_environment_and_again_after_a_401(tmp_path: Path) -> None:
    def accept_the_second(seen: Seen) -> Reply:
        good = seen.headers["authorization"].endswith("-2")
        return reply({"ok": True}) if good else status(401, "Unauthorized", "Unauthorized")

    server = Faulty(accept_the_second)
    path = write(tmp_path / "c", server=server.url, user=counting(tmp_path))
    client = KubeClient.open(KubeSettings(kubeconfig=str(path)), {"OUTER": "o", "PATH": os.environ["PATH"]})
    assert client.request("POST", "/x", body={}).body == {"ok": True}
    client.get("/x")
    assert [seen.headers["authorization"] for seen in server.seen] == [f"Bearer p-o-arg-{n}" for n in (1, 2, 2)]
    assert yaml.safe_load(path.read_text())["users"][0]["user"]["exec"], "the file is as it was"
    server.close()


def test_credentials_that_are_never_accepted_are_loaded_again_once(tmp_path: Path) -> None:
    server = Faulty([status(401, "Unauthorized", "Unauthorized")])
    path = write(tmp_path / "c", server=server.url, user=counting(tmp_path))
    client = KubeClient.open(KubeSettings(kubeconfig=str(path)), {"PATH": os.environ["PATH"]})
    for _ in range(3):
        with pytest.raises(KubeError) as caught:
            client.get("/x")
    assert (caught.value.status, caught.value.retryable) == (401, False)
    assert "user c of context c of" in caught.value.message
    assert server.url in caught.value.message
    assert "p-" not in str(caught.value)
    assert (tmp_path / "plugin.count").read_text() == "2"
    server.close()


def test_credentials_are_renewed_before_they_end(tmp_path: Path, server: Faulty) -> None:
    clock = ManualClock()
    path = write(tmp_path / "c", server=server.url, user=counting(tmp_path, EXPIRES="2030-01-01T00:10:00Z"))
    client = KubeClient.open(KubeSettings(kubeconfig=str(path)), {"PATH": os.environ["PATH"]}, clock)
    client.get("/x")
    clock.advance(580)
    client.get("/x")
    clock.advance(15)
    client.get("/x")
    assert [seen.headers["authorization"][-1] for seen in server.seen] == ["1", "1", "2"]


@pytest.mark.parametrize(("text", "told"), [
    ("import sys; sys.exit('please \\x1b[2J log in')", "it exited with 1: please \\x1b[2J log in"),
    ("import sys; sys.exit('Bearer hunter2-hunter2 is no good')", "it exited with 1: *** is no good"),
    ("import os; os.kill(os.getpid(), 9)", "it was ended by signal 9"),
    ("print('hunter2, no json')", "printed something that is no JSON"),
    ("", "printed nothing"),
    ("print('{}')", "no ExecCredential"),
    ("print('[]')", "no ExecCredential"),
    ("while True: print('hunter2' * 1000)", "printed more than 1 MiB"),
    ("""print('{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{}}')""", "neither a token nor"),
    ("""print('{"apiVersion":"client.authentication.k8s.io/v1","kind":"E","status":{"clientCertificateData":"x"}}')""",
     "without its key"),
    ("""print('{"apiVersion":"other/v1","kind":"E","status":{"token":"hunter2"}}')""", "answered in other/v1"),
    ("import sys; sys.exit(sys.stdin.read() or 'nobody answers')", "nobody answers"),
    ("open('/dev/tty')", "No such device or address: '/dev/tty'"),
])
def test_a_plugin_that_fails_is_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str, told: str) -> None:
    path = write(tmp_path / "c", user=plugin(script(tmp_path / "plugin", text)))
    error = refused(lambda: login(path, {"PATH": os.environ["PATH"]}))
    assert told in error.message
    assert "plugin" in error.message
    assert "hunter2" not in str(error)
    assert capfd.readouterr() == ("", "")


def test_a_plugin_that_gives_no_answer_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    started = tmp_path / "started"
    text = f'sleep 60 & echo "$$ $!" > {started}; sleep 60'
    path = write(tmp_path / "c", user=plugin("sh", args=["-c", text]))
    before = time.monotonic()
    for seconds in (3, 12, 40):
        error = refused(partial(log_in, KubeSettings(kubeconfig=str(path), plugin=seconds), {"PATH": os.environ["PATH"]}))
        assert "plug-in sh of context c of" in error.message
        assert f"it gave no answer in {seconds} s" in error.message
        if started.exists():  # else the machine was too busy for it to begin
            break
    assert time.monotonic() - before < 200
    for pid in started.read_text().split():
        assert is_gone(int(pid))


def is_gone(pid: int) -> bool:
    """Whether a process has ended; what it leaves for its parent to collect does not count."""
    for _ in range(1000):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def test_a_plugin_that_must_ask_is_not_started_where_nobody_answers(tmp_path: Path) -> None:
    path = write(tmp_path / "c", user=counting(tmp_path))
    document = yaml.safe_load(path.read_text())
    document["users"][0]["user"]["exec"]["interactiveMode"] = "Always"
    path.write_text(yaml.safe_dump(document))
    error = refused(lambda: login(path, {"PATH": os.environ["PATH"]}))
    assert "there is no terminal" in error.message
    assert not (tmp_path / "plugin.count").exists()


@pytest.mark.parametrize(("attended", "mode", "asks"), [
    (True, "IfAvailable", True), (True, "Always", True), (True, "Never", False), (False, "IfAvailable", False),
])
def test_a_plugin_is_told_whether_it_may_ask_and_which_cluster_it_is_for(
    tmp_path: Path, attended: bool, mode: str, asks: bool,
) -> None:
    said = tmp_path / "said"
    path = script(tmp_path / "plugin", f"""
        import json, os, pathlib
        pathlib.Path({str(said)!r}).write_text(os.environ["KUBERNETES_EXEC_INFO"])
        print(json.dumps({{"apiVersion": "client.authentication.k8s.io/v1", "kind": "E", "status": {{"token": "t"}}}}))
    """)
    config = write(tmp_path / "c", user=plugin("./plugin", interactiveMode=mode, provideClusterInfo=True))
    assert path.parent == config.parent
    settings = KubeSettings(kubeconfig=str(config), attended=attended)
    assert log_in(settings, {"PATH": os.environ["PATH"]}).authorization() == "Bearer t"
    spec = json.loads(said.read_text())["spec"]
    assert spec["interactive"] is asks
    assert spec["cluster"]["server"] == "https://one.invalid"


def test_a_plugin_that_does_not_exist_is_named_with_its_hint(tmp_path: Path) -> None:
    path = write(tmp_path / "c", user=plugin(tmp_path / "nowhere", installHint="get it from the shop"))
    error = refused(lambda: login(path))
    assert "No such file" in error.message
    assert error.hint == "get it from the shop"


def test_a_plugin_may_give_a_certificate(tmp_path: Path) -> None:
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
              "status": {"clientCertificateData": PEM, "clientKeyData": "KEY\n"}}
    path = write(tmp_path / "c", user=plugin(script(tmp_path / "plugin", f"print({json.dumps(json.dumps(answer))})")))
    trust = login(path).trust
    assert (trust.certificate, trust.key) == (PEM, "KEY\n")
    assert "KEY" not in repr(trust)


def test_a_key_that_is_locked_is_refused_and_nobody_is_asked_for_its_pass_phrase(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    locked = tmp_path / "locked"
    command = ["openssl", "ec", "-in", str(key), "-aes128", "-passout", "pass:hunter2", "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True)
    path = write(tmp_path / "c", user={"client-certificate": str(certificate), "client-key": str(locked)})
    master, terminal = pty.openpty()
    code = f"""if True:
        from jobform.clients.kube.client import KubeClient
        from jobform.clients.kube.errors import KubeError
        from jobform.clients.kube.settings import KubeSettings
        try:
            KubeClient.open(KubeSettings(kubeconfig={str(path)!r}), {{}})
        except KubeError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", code], stdin=terminal, stdout=subprocess.PIPE, stderr=terminal, text=True, timeout=120,
        check=True, start_new_session=True, preexec_fn=lambda: fcntl.ioctl(terminal, termios.TIOCSCTTY, 0),
    )
    os.close(master)
    os.close(terminal)
    assert "context c of" in done.stdout
    assert "its client key is locked with a pass phrase" in done.stdout


def test_an_auth_provider_that_nobody_knows_is_no_anonymous_request(tmp_path: Path) -> None:
    path = write(tmp_path / "c", user={"auth-provider": {"name": "azure", "config": {}}})
    assert "auth-provider azure" in refused(lambda: login(path)).message


def jwt(expires: int) -> str:
    parts = ({"alg": "none"}, {"exp": expires}, {})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)


def test_an_oidc_token_that_is_valid_is_used_and_the_file_left_alone(tmp_path: Path) -> None:
    token = jwt(4_000_000_000)
    provider = {"name": "oidc", "config": {"id-token": token, "idp-issuer-url": "https://x.invalid", "client-id": "a"}}
    path = write(tmp_path / "c", user={"auth-provider": provider})
    before = path.read_text()
    assert login(path).authorization() == f"Bearer {token}"
    assert path.read_text() == before


def service_account(directory: Path, **files: str) -> Path:
    directory.mkdir()
    for name, text in {"token": "sa-token\n", "ca.crt": PEM, "namespace": "team\n", **files}.items():
        (directory / name.replace("_", ".")).write_text(text)
    return directory


def test_inside_a_cluster_the_service_account_is_used(tmp_path: Path) -> None:
    account = service_account(tmp_path / "sa")
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    found = login(environ=environ, service_account=account)
    assert (found.server, found.namespace) == ("https://[fd00::1]:443", "team")
    assert found.authorization().lower() == "bearer sa-token"
    assert found.trust.authority == PEM
    assert str(account) in found.source
    write(tmp_path / ".kube" / "config")
    assert login(environ={**environ, "HOME": str(tmp_path)}, service_account=account).context == "c", "a kubeconfig goes first"


@pytest.mark.parametrize("missing", ["token", "ca.crt"])
def test_a_service_account_without_its_files_is_refused(tmp_path: Path, missing: str) -> None:
    account = service_account(tmp_path / "sa")
    (account / missing).unlink()
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    assert str(account) in refused(lambda: login(environ=environ, service_account=account)).message


def test_nothing_heavy_is_imported_before_a_client_is_opened() -> None:
    code = "import sys, jobform.clients.kube.client; sys.exit('kubernetes' in sys.modules or 'urllib3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_server_in_place_of_the_contexts_own_decides_about_the_proxy(tmp_path: Path, server: Faulty) -> None:
    path = write(tmp_path / "c", server="http://cluster.invalid")
    other = f"http://127.1:{server.port}"
    environ = {"HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": "127.1"}
    assert KubeClient.open(KubeSettings(kubeconfig=str(path), server=other), environ).get("/x").body == {"ok": True}
