"""The workloads API of the Run:ai control plane as a backend: trainings and distributed trainings.

The service takes no id and no request id of ours. Names belong to one workload of a project, as far as is known, and a mark among
the annotations says whose a workload is. A list shows phases and no spec, so neither marks nor drift; asking for one shows both.
"""

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime

from jobform.backends.remote import FEW, Promise, RemoteBackend, Seen, id_of, mark_key, shaped
from jobform.backends.runai.drift import differences
from jobform.backends.runai.jobs import no_logs
from jobform.backends.runai.site import Site, is_absence
from jobform.backends.runai.stops import Stops
from jobform.backends.runai.ttl import removed_by_ttl
from jobform.backends.runai.workloads_read import is_uuid, kind_told, seen_of
from jobform.backends.runai.workloads_wire import (
    ADDRESS,
    DISTRIBUTED,
    MARK,
    TRAININGS,
    as_reported,
    kind_of,
    wire_body,
)
from jobform.clients.rest.client import Query, RestError, segment
from jobform.model.errors import BackendError
from jobform.model.state import ENDED
from jobform.model.suggest import suggest
from jobform.model.values import Json, canonical
from jobform.protocols import (
    Absent,
    Actual,
    Difference,
    Found,
    Gone,
    LogOptions,
    Mark,
    Place,
    ReadError,
    Ref,
    Scope,
    Submission,
    Unknown,
)

_SETTLE = 600.0
_KEPT = "30d"
"""How long an ended workload is kept when nothing else is said."""
_PAGE = 500  # the most that the service gives
_ROOT = "/api/v1/workloads"
_KINDS = (TRAININGS, DISTRIBUTED)

_GOING = frozenset({"Deleting", "Terminating"})


class Workloads:
    """`remote.Service`: the trainings of one project.

    Ids are `trainings/UUID` and `distributed/UUID`; of a UUID alone the kind is looked up.
    """

    def __init__(self, site: Site, place: Place) -> None:
        self._site = site
        self._clock = place.clock
        self._lock = threading.Lock()
        self._ids: tuple[str, str] | None = None

    def scope(self) -> Scope:
        """The project's and the cluster's ids, proven by the list of projects."""
        with self._lock:
            self._ids = None  # what was looked up before proves nothing now
        project, cluster = self._place_ids()
        text = canonical({"project": {"uid": project}, "cluster": {"uid": cluster}})
        described = f"the Run:ai project {self._site.project} ({project}) on the cluster {cluster}"
        return Scope(text, described, self._site.project_source)

    def one(self, run_id: str) -> Seen | None:
        kind, run = parts_of(run_id)
        summary = self._get(f"{_ROOT}/{segment(run)}")
        if isinstance(summary, Gone) or (isinstance(summary, dict) and summary.get("deletedAt")):
            return None
        kind = kind or kind_told(summary) or TRAININGS
        whole = self._get(f"{_ROOT}/{kind}/{segment(run)}")
        if isinstance(whole, Gone):  # whether it exists, the summary says: not every version shows every kind
            whole = {}
        if not isinstance(whole, dict) or whole.get("workloadId", run) != run:
            raise BackendError("the service's answer is no workload", f"it is {str(whole)[:100]!r}")
        seen = shaped(lambda value: seen_of(value, whole or None, kind, self._clock.now()), summary, "workload")
        if parts_of(seen.id)[1] != run:
            raise BackendError(f"the service was asked for {run} and tells of another workload", seen.id)
        return seen

    def pages(self, since: datetime | None) -> Iterator[Sequence[Seen]]:
        """Newest first; what began to be removed is left out."""
        for items in self._listed("", (("sortBy", "createdAt"), ("sortOrder", "desc"))):
            told = [item for item in items if not (isinstance(item, dict) and item.get("deletedAt"))]
            page = [seen for item in told if (seen := self._summary(item)) is not None]
            yield page
            if since is not None and page and all(seen.created is not None and seen.created < since for seen in page):
                return

    def named(self, name: str) -> list[str]:
        """The ids of the project's trainings of this name."""
        items = [item for page in self._listed(f",name=={name}") for item in page]
        return [seen.id for item in items if (seen := self._summary(item)) is not None and seen.name == name]

    def create(self, submission: Submission, mark: Mark) -> str:
        project, cluster = self._place_ids()
        kind = kind_of(submission.spec)
        body = wire_body(submission.spec, mark.name, project, cluster, {MARK: mark.text, ADDRESS: mark.address})
        try:
            value = self._site.rest.change("POST", f"{_ROOT}/{kind}", body)
        except RestError as error:
            if error.status != 409 and not (error.status == 400 and "already exists" in error.summary.lower()):
                raise
            return self._taken(mark, error)
        run = value.get("workloadId") if isinstance(value, dict) else None
        if not isinstance(run, str) or not is_uuid(run):
            detail = f"workloadId is {str(run)[:100]!r}"
            raise BackendError("the service's answer does not name the new workload", detail, ambiguous=True)
        if submission.spec.get("suspended") is True:
            try:
                self._site.rest.change("POST", f"{_ROOT}/{kind}/{segment(run)}/suspend")
            except BackendError as error:  # it exists: it is found by its mark, and what differs is set right later
                why = f"{mark.name} was made and not suspended: {error.summary}"
                raise BackendError(why, error.detail, ambiguous=True) from error
        return f"{kind}/{run}"

    def _taken(self, mark: Mark, error: RestError) -> str:
        for run in self.named(mark.name):
            seen = self.one(run)
            if seen and seen.mark == mark.text:
                return run
            if seen and mark_key(seen.mark) == mark_key(mark.text):  # what it holds is told when it is looked up
                why = f"a workload named {mark.name} was made for this attempt before"
                raise BackendError(why, error.detail, ambiguous=True) from error
            if seen and seen.actual.detail.partition(":")[0] in _GOING:
                raise BackendError(
                    f"a workload named {mark.name} is still being removed", error.detail, retryable=True, retry_after=2.0,
                ) from error
        raise BackendError(
            f"a workload named {mark.name} exists in {self._site.project} and is not this one",
            f"{error.detail}; delete it first, or choose another job_name",
        ) from error

    def update(self, run_id: str, submission: Submission, expected: Actual) -> Actual:
        """Only `suspended` can change."""
        seen = self.one(run_id)
        if seen is None or dict(seen.actual.fields) != dict(expected.fields):
            raise BackendError(f"{run_id} has changed since it was read")
        wanted = submission.spec.get("suspended") is True
        if seen.actual.fields.get("suspended") is not wanted:
            self._site.rest.change("POST", f"{self._path(run_id)}/{'suspend' if wanted else 'resume'}")
            seen = self.one(run_id)
        if seen is None:
            raise BackendError(f"{run_id} is gone")
        return seen.actual

    def cancel(self, run_id: str) -> None:
        """A workload has no stop that ends it but its removal: suspended, it would wait for ever."""
        self.delete(run_id)

    def delete(self, run_id: str) -> None:
        try:
            self._site.rest.change("DELETE", self._path(run_id))
        except RestError as error:
            if not is_absence(error):
                raise

    def _path(self, run_id: str) -> str:
        kind, run = parts_of(run_id)
        return f"{_ROOT}/{kind or TRAININGS}/{segment(run)}"

    def _get(self, path: str) -> "Json | Gone":
        try:
            return self._site.rest.get(path)
        except RestError as error:
            if is_absence(error):
                return Gone()
            raise

    def _listed(self, filters: str, query: Query = ()) -> Iterator[Sequence[Json]]:
        """Pages of the project's workloads; one that does not say that it is the project's is an unreadable answer."""
        project, _ = self._place_ids()
        for page in self._pages(_ROOT, "workloads", (("filterBy", f"projectId=={project}{filters}"), *query)):
            strange = next((item for item in page if not isinstance(item, dict) or item.get("projectId") != project), None)
            if strange is not None:
                raise BackendError("the service lists what it was not asked for", f"such as {str(strange)[:100]!r}")
            yield page

    def _pages(self, path: str, key: str, query: Query) -> Iterator[Sequence[Json]]:
        offset = 0
        while True:
            value = self._site.rest.get(path, [*query, ("limit", str(_PAGE)), ("offset", str(offset))])
            items = value.get(key) if isinstance(value, dict) else None
            if not isinstance(value, dict) or not isinstance(items, list):
                raise BackendError(f"the service's answer is no list of {key}")
            yield items
            following = value.get("next")
            if following is None:
                return
            if isinstance(following, bool) or not isinstance(following, int) or following <= offset:
                raise BackendError(f"the list of {key} cannot be read on", f"after {offset} it says {str(following)[:50]!r}")
            offset = following

    def _summary(self, item: Json) -> Seen | None:
        """None for workloads of other kinds."""
        kind = kind_told(item)
        return shaped(lambda value: seen_of(value, None, kind, self._clock.now()), item, "workload") if kind else None

    def _place_ids(self) -> tuple[str, str]:
        """The ids of project and cluster. Raises BackendError where the names do not lead to exactly one."""
        with self._lock:
            if self._ids is None:
                self._ids = self._resolve(self._site.project, self._site.cluster)
            return self._ids

    def _resolve(self, name: str, cluster: str) -> tuple[str, str]:
        pages = self._pages("/api/v1/org-unit/projects", "projects", (("filterBy", f"name=={name}"),))
        named = [item for items in pages for item in items if isinstance(item, dict) and item.get("name") == name]
        found = {(str(item["id"]), str(item["clusterId"])) for item in named if item.get("id") and item.get("clusterId")}
        source = f"{self._site.project_source} names it; the credentials come from {self._site.rest.credentials.source}"
        if not found:
            raise BackendError(f"there is no project {name!r} among those that these credentials may see", source)
        if cluster:
            wanted_id = cluster if is_uuid(cluster) else self._cluster_id(cluster)
            found = {each for each in found if each[1] == wanted_id}
            if not found:
                raise BackendError(f"the project {name!r} is not on the cluster {cluster!r}", "`cluster` of the backend names it")
        clusters = sorted({each[1] for each in found})
        if len(clusters) > 1:
            hint = f"set `cluster` to one of {', '.join(clusters)}"
            raise BackendError(f"{len(clusters)} clusters have a project {name!r}", hint)
        if len(found) > 1:
            which = f"their ids are {', '.join(sorted(each[0] for each in found))}; which one is meant cannot be said"
            raise BackendError(f"the cluster {clusters[0]} has {len(found)} projects {name!r}", which)
        return found.pop()

    def _cluster_id(self, name: str) -> str:
        value = self._site.rest.get("/api/v1/clusters")
        if not isinstance(value, list):
            raise BackendError("the service's answer is no list of clusters", f"it is {str(value)[:100]!r}")
        clusters = [item for item in value if isinstance(item, dict) and isinstance(item.get("uuid"), str)]
        found = sorted(str(item["uuid"]) for item in clusters if item.get("name") == name)
        if not found:
            near = suggest(name, [str(item.get("name", "")) for item in clusters])
            raise BackendError(
                f"there is no cluster {name!r}", f"`cluster` of the backend names it{f'; did you mean {near}?' if near else ''}",
            )
        if len(found) > 1:
            raise BackendError(f"{len(found)} clusters are named {name!r}", f"set `cluster` to one of {', '.join(found)}")
        return found[0]


class WorkloadsBackend(RemoteBackend):
    """`protocols.Backend`, `LogSource`, `Comparing`, `Importing` and `Lister`."""

    def __init__(self, site: Site, place: Place) -> None:
        self._workloads = Workloads(site, place)
        self._site = site
        self._stops = Stops(place.clock)
        super().__init__(self._workloads, Promise(_SETTLE), place)

    def find(self, marks: Collection[Mark]) -> Mapping[Mark, Found | Absent | Unknown]:
        """By name, then by the mark that only the workload itself shows."""
        asked_at = self._clock.now()
        listed: dict[str, list[str]] = {}
        if len(marks) > FEW:
            for seen in self._all(None):
                listed.setdefault(seen.name, []).append(seen.id)
        for mark in marks:  # a list of several pages misses one when another is removed meanwhile
            if mark.name not in listed:
                listed[mark.name] = self._workloads.named(mark.name)
        return {mark: self._told(mark, listed[mark.name], asked_at) for mark in marks}

    def _told(self, mark: Mark, ids: Sequence[str], asked_at: datetime) -> Found | Absent | Unknown:
        runs = [seen for run in ids if (seen := self._service.one(run)) is not None]
        mine = [seen for seen in runs if mark_key(seen.mark) == mark_key(mark.text)]
        if mine:
            return self._judge(mark, mine, runs, asked_at)
        if runs:
            return Unknown(f"a workload named {mark.name} exists that does not carry the mark: {runs[0].id}")
        answer = self._judge(mark, [], [], asked_at)
        return (removed_by_ttl(mark, asked_at, _KEPT) if isinstance(answer, Absent) else None) or answer

    def cancel(self, ref: Ref, *, only_if_waiting: bool) -> None:
        run = id_of(ref)
        seen = self._service.one(run)
        if seen is not None and seen.actual.phase not in ENDED:
            self._stops.ask(run, seen.actual.started_at)
        try:
            super().cancel(ref, only_if_waiting=only_if_waiting)
        except Exception as error:
            if not (isinstance(error, BackendError) and error.ambiguous):
                self._stops.withdraw(run)
            raise

    def _one(self, run: str) -> Actual | Gone | ReadError:
        answer = super()._one(run)
        return self._stops.ended(run) if isinstance(answer, Gone) else answer

    def differences(self, spec: Mapping[str, Json], actual: Actual) -> Iterator[Difference]:
        return differences(as_reported(spec), actual.fields)

    def logs(self, ref: Ref, options: LogOptions) -> Iterator[bytes]:
        del options
        seen = self._service.one(id_of(ref))
        raise no_logs(seen.name if seen else "NAME", self._site.project)

    def kept(self, ref: Ref, limit: int) -> bytes:
        del ref, limit
        return b""


def parts_of(run_id: str) -> tuple[str, str]:
    """Kind, "" for an unknown one, and UUID. Raises BackendError for what is no id of a workload."""
    kind, _, run = run_id.rpartition("/")
    if kind not in ("", *_KINDS) or not is_uuid(run):
        raise BackendError("this is no id of a workload", f"{run_id[:200]!r} is no UUID")
    return kind, run
