"""Changing a run in place, and letting the cluster forget it when its outcome is recorded.

An update sends the whole manifest by server-side apply, so that what was dropped from it goes, and takes back what somebody else
took; the uid in it makes sure that it reaches this object or none.
"""

import json

from jobform.backends.kubernetes.composed import Composed, Manifest
from jobform.backends.kubernetes.differences import is_queues
from jobform.backends.kubernetes.identity import mark_of, remade
from jobform.backends.kubernetes.kinds import Kind
from jobform.backends.kubernetes.look import actuals, seen_of
from jobform.backends.kubernetes.names import FIELD_MANAGER, MARK, parse_mark
from jobform.backends.kubernetes.refs import JobRef
from jobform.backends.kubernetes.resend import resent
from jobform.backends.kubernetes.shapes import at, line, mapping, text
from jobform.backends.kubernetes.site import Site, refused, uid_of
from jobform.clients.kube.client import APPLY
from jobform.clients.kube.errors import KubeError
from jobform.model.errors import BackendError
from jobform.model.values import Json, Path, dotted
from jobform.protocols import Actual, Ref, Submission

RELEASE_MANAGER = f"{FIELD_MANAGER}-release"
"""Owns what is applied after the end, so that the manifest that was submitted need not be sent again for it."""


def update(site: Site, ref: Ref, submission: Submission, expected: Actual) -> Actual:
    """Raises BackendError, also when the object is another one now, or when fields have changed since `expected`."""
    job = JobRef.parse(ref)
    what = f"{submission.address} could not be changed in place"
    with refused(what):
        path = site.ref_path(job)
        live = _live(site, job, path, what)
        _check_unchanged(site.kind(job), expected, live, what)
        if parse_mark(mark_of(live)) is None:
            raise BackendError(what, f"Somebody removed the label {MARK} from {job}: what it was submitted as is not known.")
        composed = site.composed(submission, remade(mark_of(live), submission.address, job.name))
        _update_companions(site, composed, job, submission.address)
        try:
            with site.effect("patch", submission.address):
                now = dict(site.client.apply(path, resent(composed, live, submission.changes), force=True).body)
        except KubeError as error:
            if error.other_object or error.conflict in ("gone", "uid") or error.status == 404:
                raise BackendError(what, f"{job} is not there any more: another object has its name, or none.") from error
            raise
        if uid_of(now) != job.uid or at(now, "metadata", "deletionTimestamp"):
            raise BackendError(what, f"{job} is being removed by somebody else.")
        return actuals(site, job.namespace, [seen_of(composed.kind, now)])[job.uid]


def release(site: Site, ref: Ref, submission: Submission) -> None:
    """Apply what was held back. Quiet when the object is gone or another has its name. Raises BackendError."""
    job = JobRef.parse(ref)
    with refused(f"what was held back of {submission.address} could not be applied"):
        path = site.ref_path(job)
        live = site.get(path)
        if live is None or uid_of(live) != job.uid or at(live, "metadata", "deletionTimestamp"):
            return
        composed = site.composed(submission, remade(mark_of(live), submission.address, job.name))
        if composed.held_back is None:
            return
        body: Manifest = {
            **composed.held_back, "apiVersion": job.api, "kind": job.kind,
            "metadata": {"name": job.name, "namespace": job.namespace, "uid": job.uid},
        }
        query: dict[str, str | int | bool | None] = {
            "fieldManager": RELEASE_MANAGER, "fieldValidation": "Strict", "force": True,
        }
        try:
            with site.effect("release", submission.address):
                site.client.request("PATCH", path, query=query, body=body, content_type=APPLY)
        except KubeError as error:
            if not (error.other_object or error.conflict in ("gone", "uid") or error.status == 404):
                raise


def _live(site: Site, job: JobRef, path: str, what: str) -> Manifest:
    live = site.get(path)
    if live is None or uid_of(live) != job.uid:
        raise BackendError(what, f"{job} is not there any more" + ("." if live is None else ": another object has its name."))
    if at(live, "metadata", "deletionTimestamp"):
        raise BackendError(what, f"{job} is being removed by somebody else.")
    return live


def _check_unchanged(kind: Kind, expected: Actual, live: Manifest, what: str) -> None:
    """Nobody may have changed the object since it was compared; a status that moved on is no change."""
    if not isinstance(expected.native, bytes):
        raise BackendError(what, "What it was compared with is not known.")
    before = json.loads(expected.native)
    changed: list[Path] = []
    for top in (("metadata", "labels"), ("metadata", "annotations"), ("spec",)):
        changed += _changed(at(before, *top), at(live, *top), top, kind)
    if changed:
        names = ", ".join(dotted(path) for path in changed[:5]) + (", ..." if len(changed) > 5 else "")
        raise BackendError(what, f"It has been changed since it was looked at: {line(names)}.", retryable=True)


def _changed(before: Json, now: Json, where: Path, kind: Kind) -> list[Path]:
    """Where two values differ, as deep as both are maps or lists of one length; without what belongs to a queue."""
    if before == now or is_queues(kind, where):
        return []
    if isinstance(before, dict) and isinstance(now, dict):
        keys = sorted(before.keys() | now.keys())
        return [path for key in keys for path in _changed(before.get(key), now.get(key), (*where, key), kind)]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        return [path for index, (one, other) in pairs for path in _changed(one, other, (*where, index), kind)]
    if where[:2] == ("metadata", "annotations") and str(where[-1]).startswith("kueue.x-k8s.io/"):
        return []
    return [where]


def _update_companions(site: Site, composed: Composed, job: JobRef, address: str) -> None:
    """Those that the attempts of the job share; what is this attempt's alone cannot have changed in place."""
    known = {(companion.kind, companion.name): companion for companion in job.companions}
    for manifest in composed.companions:
        companion = known.get((text(manifest, "kind"), text(manifest, "metadata", "name")))
        if companion is None or job.belongs(companion):
            continue
        path = site.path(companion.api, companion.kind, job.namespace, companion.name)
        body = {**manifest, "metadata": {**mapping(manifest, "metadata"), "uid": companion.uid}}
        try:
            with site.effect("apply-companion", address):
                site.client.apply(path, body, force=True)
        except KubeError as error:
            raise error.backend_error(f"{companion.kind} {companion.name} of {address} could not be changed") from error
