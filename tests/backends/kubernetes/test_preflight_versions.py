"""What servers of different versions let change in a Job, against the table of the enhancement proposals."""

from typing import Any

import pytest

from jobform.backends.kubernetes.versions import Version, fixed, unknown_since

LABEL = ("spec", "template", "metadata", "labels", "a")
SELECTOR = ("spec", "template", "spec", "nodeSelector", "zone")
NODE_AFFINITY = ("spec", "template", "spec", "affinity", "nodeAffinity")
POD_AFFINITY = ("spec", "template", "spec", "affinity", "podAffinity")
IMAGE = ("spec", "template", "spec", "containers", "[name=main]", "image")
MEMORY = ("spec", "template", "spec", "containers", "[name=main]", "resources", "limits", "memory")
TEMPLATE = (LABEL, SELECTOR, NODE_AFFINITY, POD_AFFINITY, IMAGE, MEMORY)
V1_22, V1_26, V1_30, V1_35, V1_36 = (Version(1, minor) for minor in (22, 26, 30, 35, 36))

NEVER_RAN: dict[str, Any] = {"spec": {"suspend": True}, "status": {}}
RUNNING: dict[str, Any] = {"spec": {"suspend": False}, "status": {"startTime": "2026-01-01T00:00:00Z", "active": 1}}
RAN: dict[str, Any] = {"spec": {"suspend": True}, "status": {"startTime": "2026-01-01T00:00:00Z"}}
SUSPENDED: dict[str, Any] = {"spec": {"suspend": True}, "status": {
    "startTime": "2026-01-01T00:00:00Z", "conditions": [{"type": "Suspended", "status": "True"}]}}
STOPPING: dict[str, Any] = {"spec": {"suspend": True}, "status": {**SUSPENDED["status"], "active": 2}}


@pytest.mark.parametrize(("version", "live", "expected"), [
    (V1_22, NEVER_RAN, TEMPLATE), (V1_26, NEVER_RAN, (POD_AFFINITY, IMAGE, MEMORY)),
    (V1_35, NEVER_RAN, (POD_AFFINITY, IMAGE, MEMORY)), (V1_36, NEVER_RAN, (POD_AFFINITY, IMAGE)),
    (V1_35, RUNNING, TEMPLATE), (V1_36, RUNNING, TEMPLATE), (V1_35, SUSPENDED, TEMPLATE),
    (V1_36, SUSPENDED, (POD_AFFINITY, IMAGE)), (V1_36, RAN, TEMPLATE), (V1_36, STOPPING, TEMPLATE),
])
def test_the_template_follows_version_and_suspension(version: Version, live: Any, expected: Any) -> None:
    assert fixed(version, live, {}, TEMPLATE) == expected


@pytest.mark.parametrize("name", ["parallelism", "suspend", "activeDeadlineSeconds", "backoffLimit", "maxFailedIndexes",
                                  "ttlSecondsAfterFinished", "podReplacementPolicy"])
def test_some_fields_always_change(name: str) -> None:
    assert fixed(V1_22, RUNNING, {}, [("spec", name), ("metadata", "labels", "a")]) == ()


@pytest.mark.parametrize("name", ["completionMode", "backoffLimitPerIndex", "podFailurePolicy", "successPolicy", "managedBy",
                                  "selector", "scheduling", "anything"])
def test_other_fields_never_do(name: str) -> None:
    assert fixed(V1_36, NEVER_RAN, {}, [("spec", name)]) == (("spec", name),)


@pytest.mark.parametrize(("version", "mode", "parallelism", "elastic"), [
    (V1_30, "Indexed", 3, True), (V1_30, "Indexed", 2, False), (V1_30, "NonIndexed", 3, False), (V1_26, "Indexed", 3, False),
])
def test_completions_of_an_indexed_job_change_with_its_parallelism(
    version: Version, mode: str, parallelism: int, elastic: bool,
) -> None:
    completions = ("spec", "completions")
    wanted: Any = {"spec": {"completions": 3, "parallelism": parallelism}}
    live: Any = {"spec": {"completionMode": mode, "completions": 2, "parallelism": 2}}
    assert (fixed(version, live, wanted, [completions]) == ()) is elastic


@pytest.mark.parametrize("live", [None, 1, [], {}, {"spec": 3, "status": []}, {"spec": {"suspend": "yes"}}], ids=str)
def test_a_job_of_any_shape_is_one_that_runs(live: Any) -> None:
    assert fixed(V1_36, live, {}, [IMAGE]) == (IMAGE,)


@pytest.mark.parametrize(("version", "path", "since"), [
    (V1_30, ("spec", "successPolicy", "rules"), Version(1, 31)), (Version(1, 31), ("spec", "successPolicy", "rules"), None),
    (V1_22, ("spec", "podFailurePolicy"), V1_26), (V1_22, ("spec", "parallelism"), None),
    (Version(0, 0), ("spec", "managedBy"), None),
])
def test_fields_of_later_versions_are_known(version: Version, path: Any, since: Any) -> None:
    assert unknown_since(version, path) == since
