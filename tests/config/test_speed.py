"""How long reading takes; the limits are several times what an idle machine needs."""

import time

import pytest

from jobform.config.check import check_jobs
from jobform.config.document import Document
from jobform.config.expand import expand
from jobform.config.findings import Findings
from jobform.config.load import load
from jobform.config.matrix import instances
from jobform.model.job import BackendBlock

pytestmark = pytest.mark.slow

ENTRY = """\
  job-{0:05d}:
    backend: here
    needs: [job-00000]
    spec:
      command: [python, train.py, --lr, "{{{{ var.lr }}}}", --seed, "{0}"]
      env: {{A: "{{{{ var.a }}}}-x{0}", B: "run-{0}-{{{{ var.lr }}}}", C: plain}}
      timeout: 10m
      resources: {{cpu: 2, memory: 4Gi}}
      labels: {{team: vision}}
"""


def test_ten_thousand_jobs_are_loaded_checked_and_expanded_in_seconds() -> None:
    files = ["jobs:\n" + "".join(ENTRY.format(first + number) for number in range(100)) for first in range(0, 10_000, 100)]
    findings = Findings()
    here = BackendBlock("here", "local", {}, {"labels": {"tier": "a"}})
    began = time.process_time()
    documents = [load(f"jobs/{number}.yaml", text.encode(), findings) for number, text in enumerate(files)]
    checked = [(document, check_jobs(document, findings).jobs) for document in documents if document]
    entries = expand(Document("jobform.yaml", "", {}, 0), {"here": here}, checked, findings)
    assert time.process_time() - began < 5
    assert len(entries) == 10_000
    assert not findings.all()


def test_a_large_matrix_expands_in_linear_time() -> None:
    began = time.process_time()
    found = instances("train", {"a": list(range(200)), "b": list(range(200))}, lambda path: "", lambda problem: None)
    assert time.process_time() - began < 5
    assert len(found) == 40_000


def test_hostile_text_costs_no_more_than_its_length() -> None:
    findings = Findings()
    began = time.process_time()
    load("x.yaml", b"{" * 2_000_000, findings)
    load("x.yaml", b"a: " * 500_000, findings)
    load("x.yaml", b"".join(b"k%d: &a%d x\n" % (number, number) for number in range(50_000)), findings)
    load("x.yaml", ("a: " + "x " * 1_000_000).encode(), findings)
    load("x.yaml", ("- " + "\n  x" * 200_000).encode(), findings)
    assert time.process_time() - began < 20
