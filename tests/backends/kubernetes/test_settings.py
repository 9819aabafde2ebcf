"""A kubernetes backend's block in jobform.yaml."""

from pathlib import Path
from typing import Any

import pytest

from jobform.backends.kubernetes.backend import TYPE
from jobform.backends.kubernetes.settings import KubernetesSettings
from jobform.model.errors import BackendError
from jobform.schema import SpecSchema

SCHEMA = SpecSchema(TYPE.settings_schema())


def test_a_block_needs_nothing() -> None:
    assert SCHEMA.is_valid({})
    settings = KubernetesSettings.of({})
    assert (settings.context, settings.namespace, settings.in_cluster, settings.timeout) == ("", "", None, 120)
    assert settings.kubeconfig_in(Path("/p")) is None
    assert settings.kinds.of("batch/v1", "Job") is not None


@pytest.mark.parametrize(("written", "found"), [("k/config", "/p/k/config"), ("/etc/k", "/etc/k"), ("~/k", "~/k")])
def test_a_kubeconfig_is_found_from_wherever_jobform_is_called(written: str, found: str) -> None:
    assert KubernetesSettings.of({"kubeconfig": written}).kubeconfig_in(Path("/p")) == found


def test_inside_a_cluster_no_kubeconfig_counts() -> None:
    around = {"KUBECONFIG": "/x", "HOME": "/root", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert KubernetesSettings.of({"in_cluster": True}).environ(around) == {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert KubernetesSettings.of({}).environ(around) == around


@pytest.mark.parametrize(("block", "sentences"), [
    ({"context": "prod", "in_cluster": True}, ['"in_cluster" and "context" exclude each other']),
    ({"kubeconfig": "x", "in_cluster": True}, ['"in_cluster" and "kubeconfig" exclude each other']),
    ({"kubeconfig": "x", "in_cluster": False}, []),
    ({"namespace": "Team A"}, ['"namespace" is not written as it must be']),
    ({"timeout": "0s"}, ['"timeout" is not written as it must be']),
    ({"timeout": 30}, ['"timeout" must be a duration, not the number 30']),
    ({"namspace": "a"}, ['unknown key "namspace"']),
])
def test_mistakes_in_a_block(block: dict[str, Any], sentences: list[str]) -> None:
    assert [found.summary for found in SCHEMA.problems(block)] == sentences


@pytest.mark.parametrize("block", [{"timeout": "0s"}, {"timeout": "x"}, {"context": 3}, {"in_cluster": "yes"},
                                   {"in_cluster": True, "context": "prod"}])
def test_a_block_that_no_schema_has_seen_is_refused(block: dict[str, Any]) -> None:
    with pytest.raises(BackendError, match="the settings of the kubernetes backend are not usable"):
        KubernetesSettings.of(block)
