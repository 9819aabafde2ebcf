"""The comparison with kubectl on one and the same API server: both in turn in one run, medians of three.

The Jobs are suspended, so that nothing but the two programs and the control plane works.
"""

import json
import os
import shutil
import statistics
import sys
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from measure import Measured, measure

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.cluster.cluster import Cluster
from tests.cluster.fixtures import cluster, proxy
from tests.cluster.proxy import Proxy

__all__ = ["cluster", "proxy"]

ROUNDS = 3
MEGABYTE = 1_000_000
JOBFORM = str(Path(sysconfig.get_path("scripts")) / "jobform")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed"),
]


def manifest(index: int) -> dict[str, Any]:
    container = {
        "name": "main", "image": "registry.example.com/train:2.4", "command": ["python", "train.py", "--shard", str(index)],
        "env": [{"name": "BATCH_SIZE", "value": "50"}, {"name": "SEED", "value": str(index)}],
        "resources": {"limits": {"nvidia.com/gpu": 1, "memory": "64Gi"}, "requests": {"cpu": "8", "memory": "64Gi"}},
    }
    return {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"labels": {"team": "vision"}},
        "spec": {
            "suspend": True, "backoffLimit": 2,
            "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
        },
    }


class Bench:
    """Projects and manifests of Jobs in namespaces of one cluster."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self.cluster, self.directory = cluster, directory
        environ = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        self.environ: Mapping[str, str] = {**environ, "KUBECONFIG": str(cluster.kubeconfig_for("admin"))}

    def project(self, name: str, count: int) -> Path:
        """A jobform project of so many Jobs in a namespace of its own."""
        folder = self.directory / name
        (folder / "jobs").mkdir(parents=True)
        block = {"type": "kubernetes", "namespace": self.cluster.namespace()}
        (folder / "jobform.yaml").write_text(json.dumps({"jobform": 1, "project": "bench", "backends": {"pool": block}}))
        for start in range(0, count, 100):
            jobs = {f"job-{n:05d}": {"backend": "pool", "spec": {"manifest": manifest(n)}} for n in range(start, start + 100)}
            (folder / "jobs" / f"part-{start:05d}.yaml").write_text(yaml.safe_dump({"jobs": jobs}))
        return folder

    def documents(self, name: str, count: int) -> list[str]:
        """The arguments for kubectl that name the same Jobs in one file, in a namespace of its own."""
        made = []
        for n in range(count):
            one = manifest(n)
            one["metadata"]["name"] = f"job-{n:05d}"
            made.append(yaml.safe_dump(one))
        file = self.directory / f"{name}.yaml"
        file.write_text("---\n".join(made))
        return ["-n", self.cluster.namespace(), "-f", str(file)]

    def jobform(self, folder: Path, *arguments: str) -> Measured:
        return measure([JOBFORM, *arguments], folder, self.environ)

    def kubectl(self, *arguments: str) -> Measured:
        return measure(["kubectl", *arguments], self.directory, self.environ)


Step = Callable[[int], Measured]


def in_turn(**steps: Step) -> dict[str, float]:
    """Each step in each round, one after the other: the median time of each."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(ROUNDS):
        for name, step in steps.items():
            done = step(turn)
            assert done.code == 0, f"{name}: exit {done.code}\n{done.output[-2000:]}"
            found[name].append(done.seconds)
    medians = {name: statistics.median(times) for name, times in found.items()}
    for name, seconds in medians.items():
        print(f"\n{name:>24}: {seconds:7.2f} s", end="")
    print()
    return medians


@pytest.fixture
def bench(cluster: Cluster, tmp_path: Path) -> Bench:
    return Bench(cluster, tmp_path)


def test_apply_and_plan_of_500_jobs(bench: Bench) -> None:
    projects = [bench.project(f"project-{turn}", 500) for turn in range(ROUNDS)]
    documents = [bench.documents(f"documents-{turn}", 500) for turn in range(ROUNDS)]
    applied = in_turn(
        kubectl_apply=lambda turn: bench.kubectl("apply", "--server-side", *documents[turn]),
        jobform_apply=lambda turn: bench.jobform(projects[turn], "apply", "--auto-approve", "--detach"),
    )
    planned = in_turn(
        kubectl_diff=lambda turn: bench.kubectl("diff", "--server-side", *documents[turn]),
        jobform_plan=lambda turn: bench.jobform(projects[turn], "plan", "--detailed-exitcode"),
    )
    assert applied["jobform_apply"] <= 0.5 * applied["kubectl_apply"]
    assert planned["jobform_plan"] <= 0.35 * planned["kubectl_diff"]


def test_plan_of_5000_unchanged_jobs(bench: Bench, proxy: Proxy) -> None:
    folder = bench.project("many", 5_000)
    applied = bench.jobform(folder, "apply", "--auto-approve", "--detach")
    assert applied.code == 0, applied.output[-2000:]
    plan = ("plan", "--detailed-exitcode", "--format", "json")
    found = [bench.jobform(folder, *plan) for _ in range(ROUNDS)]
    assert all(done.code == 0 and json.loads(done.output)["summary"]["unchanged"] == 5_000 for done in found)
    seconds, peak = statistics.median(done.seconds for done in found), max(done.peak for done in found)
    print(f"\n{'plan of 5,000':>24}: {seconds:7.2f} s, {peak / MEGABYTE:5.0f} MB")
    assert peak < 300 * MEGABYTE

    access = bench.cluster.kubeconfig_for("admin", server=proxy.access.server, authority=proxy.access.authority)
    through = {**bench.environ, "KUBECONFIG": str(access)}
    counted = measure([JOBFORM, *plan], folder, through)
    assert counted.code == 0, counted.output[-2000:]
    assert proxy.count("GET", r"/jobs\?") == 10, "one list in pages of 500"
    assert proxy.count() <= 20, "nothing is asked job by job"
