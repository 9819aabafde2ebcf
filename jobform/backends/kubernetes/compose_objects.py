"""A user's own manifests as the objects of one attempt: theirs, plus name, namespace and labels.

What is held back until the end is left out, and what a queue decides.
"""

from base64 import b64encode
from collections.abc import Iterator, Mapping

from jobform.backends.kubernetes.compose_values import mapping, text, texts
from jobform.backends.kubernetes.composed import Composed, Manifest, Origins
from jobform.backends.kubernetes.kinds import Kind, Kinds
from jobform.backends.kubernetes.names import ADDRESS, QUEUE_NAME, QUEUE_PRIORITY, labels, workload_labels
from jobform.model.errors import BackendError
from jobform.model.values import Json, Path, is_deferred
from jobform.protocols import UNKNOWN_TEXT, Mark


def compose_objects(spec: Mapping[str, Json], mark: Mark, namespace: str, kinds: Kinds) -> Composed:
    """See `compose`. The one entry of `objects` without a `/` in its key is the job-like document.

    Raises BackendError for a kind that is not in the table, and for a document that names another namespace.
    """
    objects = mapping(spec.get("objects"))
    key = next((key for key in objects if "/" not in key), None)
    if key is None:
        raise BackendError("the manifest holds no job-like object", f"It has {', '.join(sorted(objects)[:5]) or 'nothing'}.")
    workload = _copied(objects[key])
    kind = _kind(key, workload, kinds)
    held = _taken(workload, kind.ttl_path)
    added = _added(spec)
    _name(workload, mark, namespace, {**texts(spec.get("labels")), **added, **workload_labels(mark)}, spec, own_name=True)
    own: dict[str, Json] = {**labels(mark)}
    for path in kind.templates(workload):
        template = _below(workload, path)
        _map_in(_map_in(template, "metadata"), "labels").update(own)
    companions = [(other, _copied(objects[other])) for other in objects if other != key]
    for _, companion in companions:
        _name(companion, mark, namespace, {**texts(spec.get("labels")), **own}, spec, own_name=False)
        _store(companion)
    queued = kind.queue and QUEUE_NAME in mapping(mapping(workload["metadata"]).get("labels"))
    if queued:
        _taken(workload, kind.suspend_path)  # the queue decides; naming it would start the run beside the queue, or stop it
    return Composed(
        workload, kind, tuple(companion for _, companion in companions), held,
        origins=(((), ("objects", key)), *_shared(spec)),
        companion_origins=tuple(_companion_origins(spec, other, mapping(objects[other])) for other, _ in companions),
        verbatim=True, queued=queued,
    )


def _kind(key: str, workload: Manifest, kinds: Kinds) -> Kind:
    kind = kinds.of(text(workload.get("apiVersion")), text(workload.get("kind")))
    if kind is None or kind.key != key:
        raise BackendError(
            f"{workload.get('apiVersion')} {workload.get('kind')} is no kind of job that this backend knows",
            "A project adds kinds under `kinds:` of the backend's block in jobform.yaml.",
        )
    return kind


def _added(spec: Mapping[str, Json]) -> dict[str, Json]:
    """The labels that `queue` and `queue_priority` stand for."""
    pairs = (("queue", QUEUE_NAME), ("queue_priority", QUEUE_PRIORITY))
    return {label: text(spec[name]) for name, label in pairs if name in spec}


def _name(
    document: Manifest, mark: Mark, namespace: str, own_labels: Mapping[str, Json], spec: Mapping[str, Json], *, own_name: bool,
) -> None:
    """Complete the metadata of a document. own_name: it is the workload, which has the mark's name and tells its address."""
    metadata = _map_in(document, "metadata")
    stated = metadata.get("namespace")
    if isinstance(stated, str) and stated not in (namespace, UNKNOWN_TEXT):
        raise BackendError(
            f"the manifest's {document.get('kind')} is for namespace {stated}, but the backend's namespace is {namespace}",
            "Remove metadata.namespace from the manifest, or use a backend block for that namespace.",
        )
    metadata["namespace"] = namespace
    if own_name:
        metadata.pop("generateName", None)
        metadata["name"] = mark.name
    _map_in(metadata, "labels").update(own_labels)
    annotations = {**texts(spec.get("annotations")), **({ADDRESS: mark.address} if own_name else {})}
    if annotations:
        _map_in(metadata, "annotations").update(annotations)


def _taken(workload: Manifest, path: Path | None) -> Manifest | None:
    """Take a field out of a workload: the patch that gives it back, None when it has none."""
    if path is None:
        return None
    holder: Json = workload
    for part in path[:-1]:
        holder = holder.get(str(part)) if isinstance(holder, dict) else None
    last = str(path[-1])
    if not isinstance(holder, dict) or last not in holder:
        return None
    patch: Json = holder.pop(last)
    for part in reversed(path):
        patch = {str(part): patch}
    assert isinstance(patch, dict), "the path has parts"
    return patch


def _shared(spec: Mapping[str, Json]) -> Iterator[tuple[Path, Path]]:
    """Where the keys beside `objects` go in the workload."""
    yield from _metadata_origins(spec)
    for name, label in (("queue", QUEUE_NAME), ("queue_priority", QUEUE_PRIORITY)):
        if name in spec:
            yield ("metadata", "labels", label), (name,)


def _companion_origins(spec: Mapping[str, Json], key: str, document: Mapping[str, Json]) -> Origins:
    plain: list[tuple[Path, Path]] = []
    if text(document.get("kind")) == "Secret":
        plain = [(("data", name), ("objects", key, "stringData", name)) for name in mapping(document.get("stringData"))]
    return (((), ("objects", key)), *plain, *_metadata_origins(spec))


def _store(document: Manifest) -> None:
    """Write a Secret's `stringData` as the server stores it: by that name it would keep nobody as the owner of what is in it, so
    that no change of it could be told, and what is dropped from it would stay.
    """
    plain = mapping(document.get("stringData"))
    if document.get("kind") == "Secret" and plain:
        del document["stringData"]
        _map_in(document, "data").update({name: b64encode(text(value).encode()).decode() for name, value in plain.items()})


def _metadata_origins(spec: Mapping[str, Json]) -> Iterator[tuple[Path, Path]]:
    for name in ("labels", "annotations"):
        for key in mapping(spec.get(name)):
            yield ("metadata", name, key), (name, key)


def _copied(value: Json) -> Manifest:
    """A document that may be changed, with `UNKNOWN_TEXT` for what is not known yet."""
    copy = _settled(value)
    if not isinstance(copy, dict):
        raise BackendError("an object of the manifest is no map", "")
    return copy


def _settled(value: Json) -> Json:
    if isinstance(value, dict):
        return UNKNOWN_TEXT if is_deferred(value) else {key: _settled(item) for key, item in value.items()}
    return [_settled(item) for item in value] if isinstance(value, list) else value


def _below(document: Json, path: Path) -> Manifest:
    for part in path:
        document = document[part]  # type: ignore[index]  # `Kind.templates` found it there
    assert isinstance(document, dict), "a template is a map"
    return document


def _map_in(document: Manifest, key: str) -> Manifest:
    """The map under a key, made if there is none (or an empty `labels:`, which YAML reads as null)."""
    found = document.get(key)
    if not isinstance(found, dict):
        found = document[key] = {}
    return found
