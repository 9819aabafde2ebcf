"""What a submission that never arrived has left: companions without a workload, which nobody would ever remove."""

from collections.abc import Collection
from datetime import datetime, timedelta

from jobform.backends.kubernetes.composed import Manifest
from jobform.backends.kubernetes.identity import companions_of, of_job
from jobform.backends.kubernetes.refs import parsed
from jobform.backends.kubernetes.shapes import at, text
from jobform.backends.kubernetes.site import Site, is_unserved, uid_of
from jobform.backends.kubernetes.stop import remove
from jobform.clients.kube.errors import KubeError
from jobform.model.errors import BackendError
from jobform.protocols import Mark, Ref, Submission

_SKEW = timedelta(minutes=1)
"""By how much the clocks of a cluster and of who asks it may differ."""


def abandon(site: Site, mark: Mark, kept: Collection[Ref]) -> None:
    """Remove those that are labelled as the job's and were made since the attempt began, unless a workload has them: one of
    `kept`, or one that has this very name now. What is older may hold what runs left that a lost state does not know.

    All are tried. Raises BackendError for the first that could not be removed.
    """
    if not mark.spec:
        return
    try:
        composed = site.composed(Submission(mark.address, dict(mark.spec)), mark)
    except BackendError:
        return  # what cannot be composed was never made
    if not composed.companions:
        return
    others = {companion.uid for job in parsed(kept) for companion in job.companions}
    failed: list[BackendError] = []
    try:
        others |= _of_present(site, composed.workload, mark)
    except KubeError as error:
        raise _left(error, mark, "its companions") from error
    for manifest in composed.companions:
        try:
            _remove(site, manifest, mark, others)
        except KubeError as error:
            if not is_unserved(error):
                failed.append(_left(error, mark, f"{text(manifest, 'kind')} {text(manifest, 'metadata', 'name')}"))
    if failed:
        raise failed[0]


def _of_present(site: Site, workload: Manifest, mark: Mark) -> set[str]:
    """The companions of the workload that has the name now, whichever attempt it is."""
    try:
        live = site.get(site.path_of(workload, site.namespace))
    except KubeError as error:
        if is_unserved(error):
            return set()
        raise
    return {companion.uid for companion in companions_of(live)} if live is not None and of_job(live, mark.text) else set()


def _remove(site: Site, manifest: Manifest, mark: Mark, others: Collection[str]) -> None:
    path = site.path_of(manifest, site.namespace)
    live = site.get(path)
    if live is None or uid_of(live) in others or not of_job(live, mark.text) or at(live, "metadata", "deletionTimestamp"):
        return
    if _made_since(live, mark.begun_at):
        remove(site, path, uid_of(live), mark.address, "Background")


def _made_since(live: Manifest, begun_at: str) -> bool:
    """By two clocks, the server's and the one that journalled the beginning."""
    try:
        return datetime.fromisoformat(text(live, "metadata", "creationTimestamp")) >= datetime.fromisoformat(begun_at) - _SKEW
    except (ValueError, TypeError):
        return False


def _left(error: KubeError, mark: Mark, what: str) -> BackendError:
    return error.backend_error(f"{what} of attempt {mark.attempt} of {mark.address}, which never arrived, could not be removed")
