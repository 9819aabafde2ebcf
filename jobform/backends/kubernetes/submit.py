"""Submission: the companions, then the workload, which is created or not at all.

Server-side apply would take over an object that has the name already. What keeps that from happening is a resourceVersion in the
same request that no object can have. The server checks it in the same transaction as it writes: an absent object is created,
whatever exists is left as it is with 409, or 422 where a field of it could not be changed at all (measured on 1.34, for built-in
and custom kinds). So of any number of writers, and of any number of repetitions, one makes the object.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

from jobform.backends.kubernetes.composed import Composed, Manifest
from jobform.backends.kubernetes.identity import (
    COMPANIONS,
    companions_text,
    mark_of,
    of_job,
    owner_of,
    ref_of,
    same_attempt,
)
from jobform.backends.kubernetes.outcome import removal
from jobform.backends.kubernetes.refs import Companion, JobRef, parsed
from jobform.backends.kubernetes.shapes import at, mapping, maps, text
from jobform.backends.kubernetes.site import Site, refused, uid_of
from jobform.backends.kubernetes.stop import remove
from jobform.clients.kube.errors import KubeError
from jobform.model.errors import BackendError
from jobform.model.values import Json
from jobform.protocols import Mark, Ref, Submission

NO_VERSION = "1"
"""A resourceVersion that no object has: etcd's revision before the first write."""

_LOOKS = 3
"""How often a name is looked at again that others take and give back meanwhile."""


def submit(site: Site, submission: Submission, mark: Mark) -> Ref:
    """Start an attempt; the same mark again gives the same object. Raises BackendError.

    What was made before a failure stays: `leftovers.abandon` removes it.
    """
    composed = site.composed(submission, mark)
    with refused(f"{mark.address} could not be submitted"):
        path = site.path_of(composed.workload, site.namespace)
        live = site.get(path) if composed.companions else None  # before anything is made that would have to go again
        if live is not None:
            return _adopted(site, composed, mark, live)
        ours = {each.uid for job in parsed(submission.earlier) for each in job.companions}
        beside = {_put_companion(site, manifest, mark, ours): manifest for manifest in composed.companions}
        live, made = _create(site, path, composed, mark, [*beside, *_earlier(site, submission.earlier, mark, beside)])
        if not made:
            return _adopted(site, composed, mark, live)
        ref = _ref(composed, live)
        _own(site, composed, mark, ref, beside)
        return ref.ref


def _create(site: Site, path: str, composed: Composed, mark: Mark, companions: list[Companion]) -> tuple[Manifest, bool]:
    """The workload, and whether this call made it. companions: what its reference is to hold."""
    body = _only_new(composed.workload)
    if companions:
        metadata = mapping(body, "metadata")
        listed = companions_text(companions)
        body["metadata"] = {**metadata, "annotations": {**mapping(metadata, "annotations"), COMPANIONS: listed}}
    for _ in range(_LOOKS):
        try:
            with site.effect("apply", mark.address):
                live = dict(site.client.apply(path, body).body)
        except KubeError as error:
            if error.status != 409 and not error.immutable:
                raise
            present = site.get(path)
            if present is not None:
                return present, False
            continue  # whoever had the name gave it back
        _check_made(site, path, live, mark)
        return live, True
    raise BackendError(f"{mark.name} appears and disappears", "Somebody makes and removes objects of this name.", retryable=True)


def _check_made(site: Site, path: str, live: Manifest, mark: Mark) -> None:
    """What was made must be found again: a webhook that takes our labels away makes it nobody's."""
    if not uid_of(live):
        raise BackendError(
            f"{mark.address} may have been submitted", "The cluster's answer names no object.", retryable=True, ambiguous=True,
        )
    if mark_of(live) != mark.text:
        remove(site, path, uid_of(live), mark.address)
        raise BackendError(
            f"{mark.address} cannot be recognised in the cluster: something removes the labels of jobform",
            "The object was removed again. A webhook or policy of the cluster must leave labels `jobform.dev/...` alone.",
        )


def _adopted(site: Site, composed: Composed, mark: Mark, live: Manifest) -> Ref:
    """The reference of an object that has the name already, if it is this very attempt's. Raises BackendError if it is not."""
    what = f"{composed.kind.kind} {text(live, 'metadata', 'name')}"
    if at(live, "metadata", "deletionTimestamp") and of_job(live, mark.text):
        raise BackendError(f"the earlier {what} is still being removed", removal(live), retryable=True)
    if same_attempt(mark_of(live), mark.text):
        if mark_of(live) != mark.text:
            raise BackendError(
                f"{what} is this attempt with another content",
                "It was submitted before with other values, and is left as it is. Remove it by hand if it is not wanted.",
            )
        ref = _ref(composed, live)
        _own(site, composed, mark, ref, {})
        return ref.ref
    if of_job(live, mark.text):
        raise BackendError(
            f"{what} exists: {owner_of(live)}", "An earlier attempt has this name; it is removed before the next one is made.",
        )
    raise BackendError(
        f"{what} exists already and is not this job's: {owner_of(live)}",
        "Nothing was changed. Give the job another metadata.name, or remove that object if nobody needs it.",
    )


def _put_companion(site: Site, manifest: Manifest, mark: Mark, ours: Collection[str]) -> Companion:
    """Create a companion, or bring the one that is this job's up to date. ours: uids of what earlier runs of the job have, also
    such as were taken over from another project, whose labels it carries.
    """
    path = site.path_of(manifest, site.namespace)
    what = f"{text(manifest, 'kind')} {text(manifest, 'metadata', 'name')}"
    for _ in range(_LOOKS):
        live = site.get(path)
        if live is not None:
            return _renewed(site, path, manifest, live, what, mark, ours)
        try:
            with site.effect("apply-companion", mark.address):
                made = dict(site.client.apply(path, _only_new(manifest)).body)
        except KubeError as error:
            if error.status != 409:
                raise error.backend_error(f"{what}, which {mark.address} needs, could not be made") from error
            continue
        return _companion(manifest, made)
    raise BackendError(f"{what} appears and disappears", "Somebody else makes and removes objects of this name.", retryable=True)


def _renewed(
    site: Site, path: str, manifest: Manifest, live: Manifest, what: str, mark: Mark, ours: Collection[str],
) -> Companion:
    if not of_job(live, mark.text) and uid_of(live) not in ours:
        raise BackendError(
            f"{what}, which {mark.address} brings with it, exists already and is not this job's: {owner_of(live)}",
            "Nothing of it was changed. Give it another name, or take it out of the job if it is made elsewhere.",
        )
    if at(live, "metadata", "deletionTimestamp"):
        raise BackendError(f"the earlier {what} is still being removed", removal(live), retryable=True)
    try:
        with site.effect("apply-companion", mark.address):
            now = dict(site.client.apply(path, with_uid(manifest, uid_of(live))).body)
    except KubeError as error:
        if error.status == 409 and not error.conflicts:
            raise BackendError(f"{what} was replaced by somebody else meanwhile", str(error), retryable=True) from error
        raise error.backend_error(f"{what}, which {mark.address} brings with it, could not be brought up to date") from error
    return _companion(manifest, now)


def _earlier(site: Site, earlier: Collection[Ref], mark: Mark, known: Collection[Companion]) -> list[Companion]:
    """What earlier attempts brought with them, the job's attempts share, and this one does not bring: it stays, since it may hold
    data, until the whole job goes. What is not there any more, or may not be read, is left out.
    """
    found: list[Companion] = []
    seen = {(each.api, each.kind, each.name) for each in known}
    for job in parsed(earlier):
        for each in job.companions:
            name = (each.api, each.kind, each.name)
            if job.belongs(each) or job.namespace != site.namespace or name in seen:
                continue
            seen.add(name)
            try:
                live = site.get(site.path(each.api, each.kind, site.namespace, each.name))
            except KubeError as error:
                if error.status in (403, 404):
                    continue
                raise
            if live is not None and of_job(live, mark.text):
                found.append(replace(each, uid=uid_of(live)))
    return found


def _own(site: Site, composed: Composed, mark: Mark, ref: JobRef, beside: Mapping[Companion, Manifest]) -> None:
    """Let the companions that are this attempt's alone go with its workload. Made again on adoption: a crash may have cut it.

    The run exists by now: a failure is ambiguous, so that the engine finds it.
    """
    manifests = {(text(each, "kind"), text(each, "metadata", "name")): each for each in composed.companions}
    for companion in ref.companions:
        manifest = beside.get(companion) or manifests.get((companion.kind, companion.name))
        if manifest is None or not ref.belongs(companion):
            continue
        path = site.path(companion.api, companion.kind, ref.namespace, companion.name)
        body = with_uid(manifest, companion.uid)
        owner: Json = {"apiVersion": ref.api, "kind": ref.kind, "name": ref.name, "uid": ref.uid}
        body["metadata"] = {**mapping(body, "metadata"), "ownerReferences": [owner]}
        try:
            if not beside and _is_owned(site.get(path), ref.uid):
                continue
            with site.effect("own", mark.address):
                site.client.apply(path, body)
        except KubeError as error:
            what = f"{companion.kind} {companion.name}"
            failed = error.backend_error(f"{mark.address} was submitted, but {what} could not be tied to it")
            failed.ambiguous = True
            raise failed from error


def _is_owned(live: Manifest | None, uid: str) -> bool:
    return live is None or any(text(owner, "uid") == uid for owner in maps(live, "metadata", "ownerReferences"))


def _only_new(manifest: Manifest) -> Manifest:
    return {**manifest, "metadata": {**mapping(manifest, "metadata"), "resourceVersion": NO_VERSION}}


def with_uid(manifest: Manifest, uid: str) -> Manifest:
    """The same for an object that exists: the server refuses it for any other, and when there is none."""
    return {**manifest, "metadata": {**mapping(manifest, "metadata"), "uid": uid}}


def _companion(manifest: Manifest, live: Manifest) -> Companion:
    return Companion(text(manifest, "apiVersion"), text(manifest, "kind"), text(manifest, "metadata", "name"), uid_of(live))


def _ref(composed: Composed, live: Manifest) -> JobRef:
    return ref_of(live, composed.kind.api, composed.kind.kind, text(live, "metadata", "namespace"))
