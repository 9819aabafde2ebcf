"""examples/kubernetes-gpu runs to its end, and what the documents show of a cluster is what is printed."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.cluster.api import PASSING, Api, ApiFailure
from tests.cluster.cluster import Cluster
from tests.cluster.kinds import JOBSET, declare, set_status
from tests.cluster.kueue import Kueue
from tests.cluster.node import PATH as NODE
from tests.cluster.policy import lacking
from tests.documents import DOCUMENTS, ROOT, Play, begin, groups

EXAMPLE = ROOT / "examples" / "kubernetes-gpu" / "README.md"
CONTEXTS = {ROOT / "README.md": "prod", EXAMPLE: "trial"}
NAMESPACE = "ml"
OURS = ("batch/v1/jobs", "jobset.x-k8s.io/v1alpha2/jobsets", "v1/pods", "v1/services", "v1/secrets", "v1/configmaps")

KUBECTL = f"""\
#!{sys.executable}
import json, os, sys
from pathlib import Path
from tests.cluster.api import Access, Api

patch, job, name, flag, merge, option, body = sys.argv[1:]
assert (patch, job, flag, merge, option) == ("patch", "job", "--type", "merge", "-p"), sys.argv
api = Api.open(Access.read(Path(os.environ["KUBECONFIG"])))
api.merge(f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/{{name}}", json.loads(body), manager="kubectl-patch")
print(f"job.batch/{{name}} patched")
"""
"""For machines without kubectl: the one thing that the documents do with it."""


@pytest.mark.parametrize("target", ["prod", "trial"])
def test_the_example_is_checked_and_planned_without_any_cluster(
    target: str, tmp_path: Path, jobform: Callable[..., "subprocess.CompletedProcess[str]"],
) -> None:
    begin(tmp_path / "here", EXAMPLE)
    for command in (["validate"], ["plan", "--offline"]):
        done = jobform(*command, "--target", target, cwd=tmp_path / "here", env={"KUBECONFIG": str(tmp_path / "none")})
        assert done.returncode == 0, done
    assert done.stdout.endswith(" 0 blocked, 0 unchanged.\n")
    assert "Plan: 14 to create" in done.stdout


def test_printed_as_shown_on_a_cluster(
    node: Cluster, tmp_path: Path, home: Path, bin_directory: Path, request: pytest.FixtureRequest,
) -> None:
    """One after the other: they all speak of the namespace `ml`."""
    assert [path for path in DOCUMENTS if groups(path, cluster=True)] == list(CONTEXTS)
    tools = tmp_path / "tools"
    tools.mkdir()
    if shutil.which("kubectl") is None:
        (tools / "kubectl").write_text(KUBECTL)
        (tools / "kubectl").chmod(0o755)
    with surroundings(node):
        for path, context in CONTEXTS.items():
            config = node.access.write(tmp_path / f"{context}.kubeconfig", namespace=NAMESPACE, context=context)
            environ = os.environ | {
                "PATH": f"{bin_directory}:{tools}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8",
                "USER": "you", "KUBECONFIG": str(config),
            }
            play = Play(path, home, timeout=240)
            changes = []
            for name, found in groups(path, cluster=True).items():
                directory = tmp_path / context / name
                directory.parent.mkdir(exist_ok=True)
                begin(directory, path)
                changes += play.group(found, directory, environ)
            play.judge(changes, update=request.config.getoption("--update"))
            assert left(node.api) == [], f"after {path}"


def left(api: Api) -> list[str]:
    """What jobform made and did not remove."""
    found = []
    for name in OURS:
        group, plural = name.rsplit("/", 1)
        path = f"{'/api' if group == 'v1' else '/apis'}/{group}/namespaces/{NAMESPACE}/{plural}"
        found += [f"{plural}/{it['metadata']['name']}" for it in api.items(path, "app.kubernetes.io/managed-by=jobform")]
    return found


@contextmanager
def surroundings(node: Cluster) -> Iterator[None]:
    """The namespace, slices of GPUs that only the scheduler believes in, Kueue and a JobSet controller, both played."""
    if node.connection is None:
        lacking(f"the cluster was given: its nodes have what they have, and the namespace {NAMESPACE} may be somebody's")
    slices = {"nvidia.com/mig-1g.10gb": "7"}
    node.api.merge(f"{NODE}/status", {"status": {"capacity": slices, "allocatable": slices}})
    declare(node.api, JOBSET)
    node.namespace(name=NAMESPACE)
    ended = threading.Event()
    controller = threading.Thread(target=complete_jobsets, args=(node.api, ended), daemon=True)
    controller.start()
    try:
        with Kueue(node, NAMESPACE, quota=4, queue="team-ml"):
            yield
    finally:
        ended.set()
        controller.join()
        node.drop(NAMESPACE)


def complete_jobsets(api: Api, ended: threading.Event) -> None:
    """Every JobSet succeeds at once."""
    while not ended.wait(0.2):
        try:
            for each in api.items(JOBSET.path(NAMESPACE)):
                if each.get("status", {}).get("terminalState") is None and "deletionTimestamp" not in each["metadata"]:
                    done = {
                        "type": "Completed", "status": "True", "reason": "AllJobsCompleted",
                        "message": "all jobs completed", "lastTransitionTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                    }
                    status = {"terminalState": "Completed", "conditions": [done]}
                    set_status(api, JOBSET, NAMESPACE, each["metadata"]["name"], status)
        except ApiFailure as failure:
            if failure.status not in PASSING:
                raise
