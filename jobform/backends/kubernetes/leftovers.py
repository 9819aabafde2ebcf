"""What a submission that never arrived has left: companions without a workload, which nobody would ever remove."""

from collections.abc import Collection

from jobform.backends.kubernetes.identity import of_job
from jobform.backends.kubernetes.refs import JobRef
from jobform.backends.kubernetes.shapes import at
from jobform.backends.kubernetes.site import Site, refused, uid_of
from jobform.backends.kubernetes.stop import remove
from jobform.protocols import Mark, Ref, Submission


def abandon(site: Site, mark: Mark, kept: Collection[Ref]) -> None:
    """Remove those that are labelled as the job's, unless the reference of another attempt has them. Raises BackendError."""
    if not mark.spec:
        return
    companions = site.composed(Submission(mark.address, dict(mark.spec)), mark).companions
    others = {companion.uid for ref in kept for companion in JobRef.parse(ref).companions} if companions else set()
    with refused(f"what was made for attempt {mark.attempt} of {mark.address}, which never arrived, could not be removed"):
        for manifest in companions:
            path = site.path_of(manifest, site.namespace)
            live = site.get(path)
            if live is None or uid_of(live) in others or not of_job(live, mark.text) or at(live, "metadata", "deletionTimestamp"):
                continue
            remove(site, path, uid_of(live), mark.address, "Background")
