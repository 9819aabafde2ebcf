"""What is wrong with a manifest although a server may take it: texts that mean something else, items there twice, secrets."""

import re
from collections.abc import Iterator

from jobform.backends.kubernetes.kinds import Kind
from jobform.model.values import Json
from jobform.protocols import Complaint, Spot, Written

_OCTAL = re.compile(r"[-+]?0[0-7]+")
_POD_LISTS = {
    "containers": ("name",), "initContainers": ("name",), "ephemeralContainers": ("name",), "volumes": ("name",),
    "imagePullSecrets": ("name",), "resourceClaims": ("name",), "schedulingGates": ("name",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}
_CONTAINER_LISTS = {
    "env": ("name",), "volumeMounts": ("mountPath",), "volumeDevices": ("devicePath",), "ports": ("containerPort", "protocol"),
}
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_WORDS = {"env": "environment variable", "volumeMounts": "mount path", "ports": "port"}
_DEFAULTS = {"protocol": "TCP"}


def yaml_leftovers(document: Json, spot: Spot, written: Written) -> Iterator[Complaint]:
    """Numbers of an inline manifest that kubectl would take for octal: job files are YAML 1.2, where they are decimal."""
    if isinstance(document, dict):
        for key, item in document.items():
            yield from yaml_leftovers(item, spot.below(key), written)
    elif isinstance(document, list):
        for index, item in enumerate(document):
            yield from yaml_leftovers(item, spot.below(index), written)
    elif isinstance(document, int) and not isinstance(document, bool) and document > 7:  # one octal digit is the same
        text = written.source(spot)
        if _OCTAL.fullmatch(text):
            yield Complaint(
                spot, "octal_number", f"{text} is {document} here, and {int(text, 8)} to kubectl",
                "job files are YAML 1.2, in which a leading 0 means nothing", f"write 0o{text.lstrip('+-0')} or {int(text, 8)}",
            )


def apply_faults(body: Json, spot: Spot, kind: Kind | None) -> Iterator[Complaint]:
    """Items of keyed lists in pod templates that are there twice: server-side apply refuses what a create takes."""
    for path in kind.templates(body) if kind is not None and isinstance(body, dict) else ():
        template = body
        for part in path:
            template = template[part]  # type: ignore[index]  # the path is one of the body
        pod = template.get("spec") if isinstance(template, dict) else None
        if not isinstance(pod, dict):
            continue
        here = spot.below(*path, "spec")
        for name, keys in _POD_LISTS.items():
            yield from _repeated(pod.get(name), here.below(name), name, keys)
        for name in _CONTAINERS:
            listed = pod.get(name)
            for index, container in enumerate(listed if isinstance(listed, list) else ()):
                for below, keys in _CONTAINER_LISTS.items():
                    if isinstance(container, dict):
                        yield from _repeated(container.get(below), here.below(name, index, below), below, keys)


def _repeated(listed: Json, spot: Spot, name: str, keys: tuple[str, ...]) -> Iterator[Complaint]:
    first: dict[tuple[str, ...], int] = {}
    for index, item in enumerate(listed if isinstance(listed, list) else ()):
        if not isinstance(item, dict) or keys[0] not in item:
            continue
        values = tuple(str(item.get(key, _DEFAULTS.get(key, ""))) for key in keys)
        earlier = first.setdefault(values, index)
        if earlier != index:
            what = _WORDS.get(name, f"item of {name}")
            yield Complaint(
                spot.below(index, keys[0]), "duplicate_item", f"the {what} {values[0][:80]} is there twice",
                "server-side apply, by which jobform makes objects, refuses it; of two variables the last one counts",
                "keep one of them", related=(("the first is here", spot.below(earlier, keys[0])),),
            )


def plain_secrets(body: dict[str, Json], spot: Spot) -> Iterator[Complaint]:
    """Literal values of a Secret: state and plans would hold them."""
    if body.get("kind") != "Secret" or body.get("apiVersion") != "v1":
        return
    for name in ("data", "stringData"):
        table = body.get(name)
        for key, value in table.items() if isinstance(table, dict) else ():
            if isinstance(value, str) and value:
                yield Complaint(
                    spot.below(name, key), "plain_secret", f"the Secret holds {key} in plain",
                    "job files, plans and state would hold it",
                    "write it under stringData as \"{{ secret('NAME') }}\", in a file with manifest_template: true, or make the "
                    f"Secret apart from jobform; if it is no secret, list {key} in allow_plain",
                )
