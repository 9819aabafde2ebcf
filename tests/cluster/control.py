"""The control plane: etcd, API server, controllers and scheduler as processes of this one, on free loopback ports."""

import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.api import Access
from tests.cluster.binaries import StartFailed, Unavailable
from tests.cluster.certificates import make_authority, self_signed
from tests.cluster.issuer import PAIR, PORT, Issuer
from tests.cluster.processes import Child, free_port, start

MASTERS = "system:masters"
USERS = {
    "admin": MASTERS,
    "system:kube-controller-manager": MASTERS,
    "system:kube-scheduler": MASTERS,
    "system:node:localhost": MASTERS,
    "simulator": MASTERS,
    "kueue": MASTERS,
    "viewer": "",
    "applier": "",
    "nobody": "",
}
"""User to group. Each program has its own name, so that the audit log tells them apart; the last three have the rights that
`roles.py` gives them."""

AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "omitManagedFields": True,
    "rules": [
        {"level": "None", "resources": [{"group": "coordination.k8s.io"}]},
        {"level": "None", "resources": [{"group": "", "resources": ["events", "nodes", "nodes/status"]}]},
        {"level": "None", "verbs": ["get", "list", "watch"], "users": [user for user in USERS if user.startswith("system:")]},
        {"level": "None", "users": ["system:apiserver"]},
        {"level": "Metadata", "verbs": ["get", "list", "watch"]},
        {"level": "RequestResponse", "resources": [
            {"group": group} for group in
            ("batch", "jobset.x-k8s.io", "kubeflow.org", "trainer.kubeflow.org", "ray.io", "batch.volcano.sh")
        ]},
        {"level": "Request", "resources": [{"group": "", "resources": ["pods"]}]},
        {"level": "Metadata"},
    ],
}
"""Answers are logged too for what runs: a create's answer has the uid, an update's the conditions, which `audit.py` needs."""

CLIENT_AUTHORITY = "client-authority"
"""Of the files, without their endings, that make client certificates; see `certificates.py`."""

ROOT = Path(__file__).parents[2]
READY_TIMEOUT = 150.0


@dataclass
class ControlPlane:
    """Owned by one process, and used from its main thread alone. directory: empty or absent; everything is written there."""

    assets: Path
    directory: Path
    etcd_port: int = field(default_factory=free_port)
    peer_port: int = field(default_factory=free_port)
    port: int = field(default_factory=free_port)
    issuer_port: int = field(default_factory=free_port)
    _children: dict[str, Child] = field(default_factory=dict)

    def start(self) -> None:
        """Returns when the API answers /readyz and the default service account is there, which pods need."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._write_secrets()
        command = [sys.executable, "-m", "tests.cluster.issuer", self.directory, str(self.issuer_port)]
        self._children["issuer"] = start(command, self.directory, "issuer", os.environ | {"PYTHONPATH": str(ROOT)})
        self._run("etcd", *self._etcd())
        self.wait("the issuer", self._issues)  # who finds none at first looks for it again much later
        self.start_apiserver()
        self._run("kube-controller-manager", *self._controller_manager(self.kubeconfig("system:kube-controller-manager")))
        self._run("kube-scheduler", *self._scheduler(self.kubeconfig("system:kube-scheduler")))
        for user in USERS:
            self.kubeconfig(user)
        self.kubeconfig("admin").replace(self.directory / "kubeconfig")
        self.wait("the default service account", lambda: self._get("/api/v1/namespaces/default/serviceaccounts/default") == 200)

    def start_apiserver(self) -> None:
        self._run("kube-apiserver", *self._apiserver())
        self.wait("the API server", lambda: self._get("/readyz") == 200)
        token = self.issuer.token("nobody", 3600)
        self.wait("tokens of the issuer to be taken", lambda: self._get("/api", token) == 200)

    def stop_apiserver(self) -> None:
        """After it the port refuses connections; what etcd holds stays. A crash: its orderly end takes many seconds."""
        self._children["kube-apiserver"].stop(patience=0)

    def compact(self) -> None:
        """Forgets every revision but the latest: what resumes from an older one gets 410.

        The API server holds recent revisions in memory as well, so it is started anew.
        """
        status = self._etcd_call("maintenance/status", {})
        self._etcd_call("kv/compaction", {"revision": status["header"]["revision"], "physical": True})
        self.stop_apiserver()
        self.start_apiserver()

    def stop(self) -> None:
        """The order spares each part errors about one that has gone before; the rest is discarded, so patience is short."""
        for name in ("kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"):
            if child := self._children.get(name):
                child.process.terminate()
        for child in self._children.values():
            child.stop(patience=2)

    @property
    def issuer(self) -> Issuer:
        """Whose tokens the API server takes."""
        return Issuer(self.directory, self.issuer_port)

    @property
    def dead(self) -> list[Child]:
        """Parts that ended by themselves."""
        return [child for child in self._children.values() if not child.running]

    def access(self, user: str) -> Access:
        tokens = json.loads((self.directory / "tokens.json").read_text())
        authority = (self.directory / "certs" / "apiserver.crt").read_text()
        return Access(f"https://127.0.0.1:{self.port}", authority, tokens[user])

    def kubeconfig(self, user: str) -> Path:
        return self.access(user).write(self.directory / f"{user.replace(':', '-')}.kubeconfig")

    def wait(self, what: str, holds: Callable[[], bool]) -> None:
        ends = time.monotonic() + READY_TIMEOUT
        while not holds():
            if dead := self.dead:
                raise StartFailed(f"{dead[0].name} ended with {dead[0].process.returncode}:\n{dead[0].tail()}")
            if time.monotonic() > ends:
                tails = "\n".join(f"--- {child.name}\n{child.tail()}" for child in self._children.values())
                raise StartFailed(f"{what} was not there after {READY_TIMEOUT:g} s\n{tails}")
            time.sleep(0.05)

    def _run(self, program: str, *arguments: str) -> None:
        self._children[program] = start([self.assets / program, *arguments], self.directory)

    def _write_secrets(self) -> None:
        openssl = shutil.which("openssl")
        if openssl is None:
            raise Unavailable("openssl is not installed: the cluster signs service account tokens with a key made by it")
        key = self.directory / "sa.key"
        public = self.directory / "sa.pub"
        subprocess.run([openssl, "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        subprocess.run([openssl, "rsa", "-in", key, "-pubout", "-out", public], check=True, capture_output=True)
        make_authority(self.directory / CLIENT_AUTHORITY)
        self_signed(self.directory, Path(PAIR[0]).stem)
        tokens = {user: secrets.token_hex(16) for user in USERS}
        rows = [f'{tokens[user]},{user},{user},"{group}"' for user, group in USERS.items()]
        contents = {
            "tokens.json": json.dumps(tokens), "tokens.csv": "\n".join(rows), "audit-policy.yaml": json.dumps(AUDIT_POLICY),
            PORT: str(self.issuer_port),
        }
        for name, content in contents.items():
            with os.fdopen(os.open(self.directory / name, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
                file.write(content + "\n")

    def _etcd(self) -> list[str]:
        client, peer = f"http://127.0.0.1:{self.etcd_port}", f"http://127.0.0.1:{self.peer_port}"
        return [
            f"--data-dir={self.directory / 'etcd'}", f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}", "--unsafe-no-fsync", "--log-level=warn",
        ]

    def _apiserver(self) -> list[str]:
        here = self.directory
        return [
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}", "--bind-address=127.0.0.1", f"--secure-port={self.port}",
            f"--cert-dir={here / 'certs'}", f"--token-auth-file={here / 'tokens.csv'}", "--authorization-mode=Node,RBAC",
            f"--service-account-key-file={here / 'sa.pub'}", f"--service-account-signing-key-file={here / 'sa.key'}",
            "--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range=10.0.0.0/24",
            "--allow-privileged=true", "--kubelet-preferred-address-types=Hostname",
            "--feature-gates=MutatingAdmissionPolicy=true", "--runtime-config=admissionregistration.k8s.io/v1beta1=true",
            "--enable-admission-plugins=PodNodeSelector,PodTolerationRestriction",
            f"--audit-policy-file={here / 'audit-policy.yaml'}", f"--audit-log-path={here / 'audit.log'}",
            "--audit-log-maxsize=4000",
            f"--client-ca-file={here / CLIENT_AUTHORITY}.crt", *self.issuer.arguments(),
        ]

    def _controller_manager(self, kubeconfig: Path) -> list[str]:
        return [
            f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--bind-address=127.0.0.1", f"--secure-port={free_port()}",
            f"--service-account-private-key-file={self.directory / 'sa.key'}",
            f"--root-ca-file={self.directory / 'certs' / 'apiserver.crt'}",
            "--kube-api-qps=500", "--kube-api-burst=1000", "--concurrent-namespace-syncs=20",
        ]

    def _scheduler(self, kubeconfig: Path) -> list[str]:
        return [
            f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--bind-address=127.0.0.1", f"--secure-port={free_port()}",
            "--kube-api-qps=500", "--kube-api-burst=1000",
        ]

    def _issues(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.issuer_port)) == 0

    def _get(self, path: str, token: str = "") -> int:
        """The status of a GET by the admin, or with another token; 0 while nothing answers."""
        if not (self.directory / "certs" / "apiserver.crt").exists():
            return 0
        access = self.access("admin")
        request = urllib.request.Request(access.server + path, headers={"Authorization": f"Bearer {token or access.token}"})
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=ssl.create_default_context(cadata=access.authority)),
        )
        try:
            with opener.open(request, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def _etcd_call(self, method: str, body: object) -> dict[str, dict[str, str]]:
        url = f"http://127.0.0.1:{self.etcd_port}/v3/{method}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(url, json.dumps(body).encode()), timeout=30) as answer:
            content: dict[str, dict[str, str]] = json.load(answer)
        return content
