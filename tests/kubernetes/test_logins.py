"""Who we are to a real API server: client certificates, and tokens of an issuer of OpenID Connect that end and are refreshed."""

import json
import sys
import threading
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.api import Access, Api
from tests.cluster.issuer import Issuer
from tests.cluster.loopback import Loopback
from tests.cluster.proxy import Proxy, refuse
from tests.kubernetes.stage import Stage, image_job
from tests.kubernetes.test_context import edited, one_error, plugin
from tests.support import ROOT, Result

UNAUTHORIZED = json.dumps({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Unauthorized", "code": 401})


def user_of(kubeconfig: str | Path) -> dict[str, Any]:
    """What the only user of a kubeconfig has."""
    found: dict[str, Any] = yaml.safe_load(Path(kubeconfig).read_text())["users"][0]["user"]
    return found


def provider_of(kubeconfig: str | Path) -> dict[str, str]:
    found: dict[str, str] = user_of(kubeconfig)["auth-provider"]["config"]
    return found


def unspoken(said: Result, *kubeconfigs: str | Path) -> None:
    """No command printed a token of these kubeconfigs as they are now."""
    for each in kubeconfigs:
        config = provider_of(each)
        for key in ("id-token", "refresh-token"):
            assert config[key] not in said.stdout + said.stderr, said


# --- client certificates


def test_a_client_certificate_is_who_we_are(stage: Stage, tmp_path: Path) -> None:
    stage.declare({"one": image_job()})
    certified = stage.cluster.certified("applier", namespace=stage.namespace)
    stage.environ["KUBECONFIG"] = str(certified)
    stage.begin()
    stage.plan()
    files = {key: f"{key}.pem" for key in ("client-certificate", "client-key")}
    for key, name in files.items():
        (tmp_path / name).write_bytes(b64decode(user_of(certified)[f"{key}-data"]))
    stage.environ["KUBECONFIG"] = edited(certified, tmp_path / "files", user=files)  # beside the file that names them
    stage.plan()
    given = {name: (tmp_path / files[key]).read_text() for name, key in (
        ("clientCertificateData", "client-certificate"), ("clientKeyData", "client-key"),
    )}
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": given}
    (tmp_path / "answer.json").write_text(json.dumps(answer))
    stage.environ["KUBECONFIG"] = edited(certified, tmp_path / "exec", user=plugin(f"cat {tmp_path}/answer.json"))
    cancelled = stage.run("cancel", "one", JOBFORM_LOG="debug")
    assert cancelled.exit == 0, cancelled
    assert "PRIVATE KEY" not in cancelled.stderr


def test_a_certificate_that_is_over_or_has_no_rights_is_one_diagnostic(stage: Stage, tmp_path: Path) -> None:
    stage.declare({"one": image_job()})
    over = stage.cluster.certified("applier", days=-1, namespace=stage.namespace)
    said = stage.run("plan", KUBECONFIG=str(over))
    one_error(said, "scope_not_proven", "401 Unauthorized", "does not accept user test", "renew the token or certificate")
    nobody = stage.cluster.certified("nobody", namespace=stage.namespace)
    mixed = user_of(over) | {key: value for key, value in user_of(nobody).items() if key.startswith("client-key")}
    one_error(stage.run("plan", KUBECONFIG=edited(over, tmp_path / "mixed", user=mixed)), "cannot be used", "KEY_VALUES_MISMATCH")
    said = stage.run("apply", "--auto-approve", "--detach", KUBECONFIG=str(nobody))
    assert said.exit == 7, said
    assert 'User "nobody" cannot patch resource "jobs"' in said.stderr, said
    assert not stage.api.items(stage.path)


# --- OpenID Connect


@pytest.fixture
def issuer(stage: Stage) -> Issuer:
    return stage.cluster.issuer


def test_a_token_that_has_ended_is_refreshed_and_kept(stage: Stage, issuer: Issuer, tmp_path: Path) -> None:
    stage.declare({"one": image_job()})
    good = stage.environ["KUBECONFIG"]
    path = edited(good, tmp_path / "oidc", user=issuer.provider("applier", -10, lifetime=3600))
    Path(path).chmod(0o600)
    before = provider_of(path)
    said = stage.run("apply", "--auto-approve", "--detach", JOBFORM_LOG="debug", KUBECONFIG=path)
    assert said.exit == 0, said
    after = provider_of(path)
    assert issuer.is_spent(before["refresh-token"])
    assert {key for key, value in after.items() if before[key] != value} == {"id-token", "refresh-token"}
    assert Path(path).stat().st_mode & 0o777 == 0o600
    unspoken(said, path)
    stage.environ["KUBECONFIG"] = path
    stage.plan()
    assert provider_of(path) == after, "what is valid is used as it is"


def test_a_public_client_of_an_issuer_that_the_machine_trusts(stage: Stage, issuer: Issuer, tmp_path: Path) -> None:
    stage.declare({"one": image_job()})
    user = issuer.provider("applier", -10, **{"client-secret": None, "idp-certificate-authority": None})
    path = edited(stage.environ["KUBECONFIG"], tmp_path / "oidc", user=user)
    names = set(provider_of(path))
    one_error(stage.run("plan", KUBECONFIG=path), "certificate verify failed")
    assert not issuer.is_spent(provider_of(path)["refresh-token"]), "who is not proven gets nothing"
    assert stage.run("plan", KUBECONFIG=path, SSL_CERT_FILE=str(issuer.authority)).exit == 0
    assert set(provider_of(path)) == names, "what was needed for the refresh alone is not kept"


def test_a_refresh_that_fails_is_one_diagnostic(stage: Stage, issuer: Issuer, tmp_path: Path) -> None:
    stage.declare({"one": image_job()})
    good, over = stage.environ["KUBECONFIG"], threading.Event()

    def refused_by(name: str, *texts: str, **config: str) -> None:
        path = edited(good, tmp_path / name, user=issuer.provider("applier", -10, **config))
        said = stage.run("plan", JOBFORM_LOG="debug", KUBECONFIG=path)
        one_error(said, "scope_not_proven", *texts, "log in again")
        unspoken(said, path)

    refused_by("spent", "the refresh token is not known", **{"refresh-token": "spent-long-ago"})
    refused_by("nobody", "Connection refused", **{"idp-issuer-url": "https://127.0.0.1:9"})
    with Loopback(lambda *_: (503, {})) as away:
        (tmp_path / "away.crt").write_text(away.authority)
        there = {"idp-issuer-url": away.url, "idp-certificate-authority": str(tmp_path / "away.crt")}
        refused_by("away", "(503) Reason: Service Unavailable", **there)
    with Loopback(lambda *_: (200 if over.wait(60) else 500, {})) as silent:
        (tmp_path / "silent.crt").write_text(silent.authority)
        there = {"idp-issuer-url": silent.url, "idp-certificate-authority": str(tmp_path / "silent.crt")}
        stage.settings = {"login_timeout": "1s"}
        stage.declare({"one": image_job()})
        refused_by("silent", "the issuer of its auth-provider gave no answer in 1 s", **there)
        over.set()


def test_a_token_that_ends_in_the_middle_of_an_apply_is_refreshed(
    stage: Stage, issuer: Issuer, proxy: Proxy, tmp_path: Path,
) -> None:
    user = issuer.provider("applier", -10, lifetime=200)
    authority = b64encode(proxy.access.authority.encode()).decode()
    server = {"server": proxy.access.server, "certificate-authority-data": authority}
    path = edited(stage.environ["KUBECONFIG"], tmp_path / "oidc", user=user, **server)
    stage.declare({f"job-{number}": image_job() for number in range(12)})
    stage.environ["KUBECONFIG"] = path
    refused = proxy.rule(refuse(401, UNAUTHORIZED.encode()), "PATCH", r"/jobs/(?!.*dryRun)", skip=5)
    spent = [provider_of(path)["refresh-token"]]
    refused.then = lambda: spent.append(provider_of(path)["refresh-token"])
    said = stage.begin()
    assert "12 changed" in said.stdout
    assert len(stage.api.items(stage.path)) == 12
    assert [issuer.is_spent(each) for each in (*spent, provider_of(path)["refresh-token"])] == [True, True, False]
    unspoken(said, path)


@pytest.mark.slow
@pytest.mark.parametrize("by", ["auth-provider", "exec"])
def test_tokens_end_while_an_apply_waits(play: Stage, tmp_path: Path, by: str) -> None:
    """Really: the server remembers for 10 seconds that it took a token, then it looks at its end again."""
    issuer, given = play.cluster.issuer, tmp_path / "given"
    if by == "exec":
        program = tmp_path / "plugin.py"
        program.write_text(f"""import json, pathlib, sys
sys.path.insert(0, {str(ROOT)!r})
from tests.cluster.api import Access, Api
from tests.cluster.issuer import Issuer
token = Issuer.of(pathlib.Path({str(issuer.folder)!r})).token("applier", 5)
pathlib.Path({str(given)!r} + ".new").write_text(token)
pathlib.Path({str(given)!r} + ".new").replace({str(given)!r})
status = {{"token": token}}
print(json.dumps({{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}}))
""")
        user = plugin(f"{sys.executable} {program}")
    else:
        user = issuer.provider("applier", -10, lifetime=5)
    path = edited(play.environ["KUBECONFIG"], tmp_path / "oidc", user=user)

    def token() -> str:
        return given.read_text() if by == "exec" else provider_of(path)["id-token"]

    play.declare({"one": image_job(), "two": image_job("") | {"needs": ["one"]}})
    play.environ["KUBECONFIG"] = path
    applying = play.start("apply", "--auto-approve")
    play.api.wait(play.path, lambda found: bool(found and found["items"]), what="the first job")
    first, path_of_review = token(), "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    access = Api.open(Access(play.cluster.access.server, play.cluster.access.authority, first))
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    play.wait(lambda: access.raw("POST", path_of_review, review)[0], lambda status: status == 401)
    assert applying.poll() is None
    play.let_end("one")
    said, errors = applying.communicate(timeout=120)
    assert applying.returncode == 0, (said, errors)
    assert "two: succeeded" in said + errors
    assert token() != first
    assert first not in said + errors
