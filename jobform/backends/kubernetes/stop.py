"""Stopping and removing. Every delete carries the uid of the object that was meant, and a policy that leaves no pod behind."""

from jobform.backends.kubernetes.composed import Manifest
from jobform.backends.kubernetes.names import ADDRESS, ATTEMPT, JOB, LINEAGE
from jobform.backends.kubernetes.read import Reader
from jobform.backends.kubernetes.refs import Companion, JobRef
from jobform.backends.kubernetes.shapes import at, mapping, text
from jobform.backends.kubernetes.site import Site, refused, uid_of
from jobform.clients.kube.errors import KubeError
from jobform.model.errors import BackendError, Started
from jobform.model.state import ENDED
from jobform.protocols import Ref

_LOOKS = 10
"""How often a run that changes all the time is looked at again before its stop is given up."""

_PATIENCE = 3.0
"""Seconds that a removal of an ended run is waited for: with its pods over it is a matter of a few tenths."""


def cancel(site: Site, reader: Reader, ref: Ref, *, only_if_waiting: bool) -> None:
    """Ask for the end of a run that was just seen not to have ended. Raises Started and BackendError.

    The delete holds for exactly that sight of it: when its status has moved meanwhile, it is looked at again, so an outcome is
    never deleted. The pods are looked at after the object, right before the delete.
    """
    job = JobRef.parse(ref)
    with refused(f"{job} could not be cancelled"):
        for _ in range(_LOOKS):
            seen = reader.one(job)
            if seen is None:
                return
            obj, actual = seen
            if actual.phase in ENDED:
                return
            if only_if_waiting and actual.started_at is not None:
                raise Started
            if at(obj, "metadata", "deletionTimestamp"):
                return
            if _deleted(site, site.ref_path(job), job.uid, _address(obj, job), text(obj, "metadata", "resourceVersion")):
                return
    raise BackendError(f"{job} could not be cancelled", "Its status moves faster than it can be read.", retryable=True)


def delete(site: Site, reader: Reader, ref: Ref, *, whole: bool) -> None:
    """Remove an ended run, and what is its alone; whole: also what its job's attempts share. Raises BackendError.

    Waits shortly for the end of the removal, so that the name is free; one that takes longer goes on by itself.
    """
    job = JobRef.parse(ref)
    with refused(f"what remains of {job} could not be removed"):
        seen = reader.one(job)
        if seen is not None:
            obj, actual = seen
            if actual.phase not in ENDED:
                raise BackendError(f"{job} has not ended: it is {actual.phase}")
            path, address = site.ref_path(job), _address(obj, job)
            if not at(obj, "metadata", "deletionTimestamp"):
                _deleted(site, path, job.uid, address)
            _await(site, path, job.uid)
        else:
            address = job.name
        for companion in job.companions:
            if whole or job.belongs(companion):
                _remove_companion(site, job, companion, address)


def remove(site: Site, path: str, uid: str, address: str, propagation: str = "Foreground") -> None:
    """Delete one object, quietly when it is gone or when another has its name. Raises KubeError.

    propagation: `Background` for what has no pods, so that its name is free at once.
    """
    _deleted(site, path, uid, address, propagation=propagation)


def _deleted(
    site: Site, path: str, uid: str, address: str, version: str | None = None, propagation: str = "Foreground",
) -> bool:
    """Whether it is certain that the object goes or is gone; False when it has changed since that version. Raises KubeError."""
    try:
        with site.effect("delete", address):
            site.client.delete(path, uid=uid, resource_version=version, propagation=propagation)
    except KubeError as error:
        if error.status == 404 or error.conflict in ("uid", "gone"):
            return True
        if error.status == 409 and version is not None:
            return False
        raise
    return True


def _await(site: Site, path: str, uid: str) -> None:
    end, pause = site.clock.monotonic() + _PATIENCE, 0.05
    while True:
        live = site.get(path)
        if live is None or uid_of(live) != uid or site.clock.monotonic() >= end:
            return
        site.clock.sleep(pause)
        pause = min(2 * pause, 0.5)


def _remove_companion(site: Site, job: JobRef, companion: Companion, address: str) -> None:
    """Only one that is labelled as this job's and has the uid that was recorded."""
    path = site.path(companion.api, companion.kind, job.namespace, companion.name)
    live = site.get(path)
    if live is None or uid_of(live) != companion.uid or at(live, "metadata", "deletionTimestamp"):
        return
    labels = mapping(live, "metadata", "labels")
    if text(labels, LINEAGE) != job.lineage or not text(labels, JOB) or not text(labels, ATTEMPT):
        return
    remove(site, path, companion.uid, address, "Background")


def _address(obj: Manifest, job: JobRef) -> str:
    """The address that it was submitted for; its name when that is not told."""
    return text(mapping(obj, "metadata", "annotations"), ADDRESS) or job.name


