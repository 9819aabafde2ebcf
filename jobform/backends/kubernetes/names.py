"""The names that jobform gives to things in a cluster: field manager, labels, annotations, and what a label value may hold."""

import re

from jobform.model.values import digest
from jobform.protocols import Mark

FIELD_MANAGER = "jobform"
"""Who we are to server-side apply, in every create and update."""

MANAGED_BY = "app.kubernetes.io/managed-by"
LINEAGE = "jobform.dev/lineage"
JOB = "jobform.dev/job"
ATTEMPT = "jobform.dev/attempt"
MARK = "jobform.dev/mark"
ADDRESS = "jobform.dev/address"
"""An annotation, since an address holds characters that a label value may not have."""

LABELS = frozenset({MANAGED_BY, LINEAGE, JOB, ATTEMPT, MARK})
"""The keys of every label of ours; nobody else may set them."""

QUEUE_NAME = "kueue.x-k8s.io/queue-name"
QUEUE_PRIORITY = "kueue.x-k8s.io/priority-class"

_MARK = re.compile(r"jf1-([0-9a-f]{16})-([0-9a-f]{16})-([0-9]{1,9})-([0-9a-f]{16})")


def parse_mark(text: str) -> tuple[str, str, int, str] | None:
    """Lineage, address, attempt and body of a mark's text (hex, hex, number, hex); None for a text that is no mark of ours."""
    found = _MARK.fullmatch(text)
    return (found[1], found[2], int(found[3]), found[4]) if found else None


def labels(mark: Mark) -> dict[str, str]:
    """The labels of every object and pod template of an attempt. Raises ValueError for a mark whose text is none."""
    parts = parse_mark(mark.text)
    if parts is None:
        raise ValueError(f"not the text of a mark: {mark.text[:80]!r}")
    lineage, job, attempt, _ = parts
    return {MANAGED_BY: FIELD_MANAGER, LINEAGE: lineage, JOB: job, ATTEMPT: str(attempt)}


def workload_labels(mark: Mark) -> dict[str, str]:
    """The labels of the job-like object itself."""
    return {**labels(mark), MARK: mark.text}


def volume_name(path: str) -> str:
    """A volume's name for a mount path: readable, and as unique as the path; a DNS label of at most 63 characters."""
    slug = re.sub(r"[^a-z0-9]+", "-", path.lower()).strip("-")
    plain = f"v-{slug}" if slug else "v"
    if f"/{slug}" == path and len(plain) <= _LONGEST_SLUG:
        return plain
    return f"{plain[:_LONGEST_SLUG].rstrip('-')}-{digest(path)[:8]}"


_LONGEST_SLUG = 40
