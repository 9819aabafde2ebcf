"""The job API of a Run:ai cluster as a backend.

The service keeps nothing of ours but a job's name, so the name is the mark: it belongs to one job of the project at a time, and
one attempt's is like no other's, unless a user chose it. A create gives no id; the id is looked up right after it, and tells the
job from then on from one of the same name that somebody else made. A stop is a removal: only who asked for it knows that the job
was stopped.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from jobform.backends.remote import FEW
from jobform.backends.runai.drift import differences
from jobform.backends.runai.jobs_wire import View, view, wire_body
from jobform.backends.runai.refs import JobRef, as_ref, job_ref
from jobform.backends.runai.site import Site, explain, is_absence
from jobform.backends.runai.stops import Stops
from jobform.backends.runai.ttl import removed_by_ttl
from jobform.backends.runai.whose import Whose, is_chosen, whose
from jobform.clients.rest.client import RestError, segment
from jobform.model.errors import BackendError, Started
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
    Sighting,
    Submission,
    Unknown,
    timestamp,
)

_SETTLE = timedelta(seconds=60)
"""After this long a job that was begun and is not listed was never made."""

_LOOKS = (0.0, 0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds before each look for a job that was just made: the service shows it a little later."""

_OTHER = "0" * 16
"""Stands for the hash of a body that is not ours."""

_JOBS = "/api/v1/jobs"
_LONGEST_NAME = 253


class JobsBackend:
    """`protocols.Backend`, `LogSource`, `Comparing`, `Importing` and `Lister` for one project."""

    def __init__(self, site: Site, place: Place) -> None:
        self._site = site
        self._place = place
        self._clock = place.clock
        self._stops = Stops(place.clock)

    # --- scope and reading --------------------------------------------------------------------------------------------

    def scope(self) -> Scope:
        """The service's address and the project, proven by the list of projects."""
        rest, project = self._site.rest, self._site.project
        listed = _data(rest.get("/api/v1/projects"), "projects")
        names = [name for item in listed if isinstance(item, dict) and isinstance(name := item.get("name"), str)]
        if project not in names:
            near = suggest(project, names)
            detail = f"{self._site.project_source} names it; the credentials come from {rest.credentials.source}"
            meant = f"; did you mean {near}?" if near else ""
            raise BackendError(f"there is no project {project!r} among those that {rest.base.host} shows", detail + meant)
        where = rest.base.url.partition("://")[2]
        text = canonical({"service": {"address": where}, "project": {"name": project}})
        return Scope(text, f"the Run:ai project {project} at {where}", f"{self._site.project_source} and {rest.base.source}")

    def read(self, refs: Collection[Ref]) -> Mapping[Ref, Actual | Gone | ReadError]:
        answers: dict[Ref, Actual | Gone | ReadError] = {}
        by_project: dict[str, dict[Ref, JobRef]] = defaultdict(dict)
        for ref in refs:
            try:
                job = job_ref(ref)
                by_project[job.project][ref] = job
            except BackendError as error:
                answers[ref] = ReadError(error.summary, error.detail, retryable=False)
        for project, jobs in by_project.items():
            listed = {each.id: each for each in self._views(project)[0]} if len(jobs) > FEW else {}
            for ref, job in jobs.items():
                found = listed.get(job.id)
                answers[ref] = self._told(job, found) if found else self._one(job)
        return answers

    def _one(self, job: JobRef) -> Actual | Gone | ReadError:
        try:
            return self._told(job, self._look(job))
        except BackendError as error:
            return ReadError(error.summary, error.detail, error.retryable)

    def _told(self, job: JobRef, found: View | None) -> Actual | Gone:
        """What is to be said of a job: one that was removed by our stop, by this process, was cancelled by it."""
        return found.actual if found else self._stops.ended(job.id)

    def _look(self, job: JobRef) -> View | None:
        """The job itself: one of its name with another id was made by somebody else since."""
        return next((each for each in self._named(job.project, job.name) if each.id == job.id), None)

    def _named(self, project: str, name: str) -> Sequence[View]:
        """Every job of the project that has this name.

        Raises BackendError for an answer about other jobs: then the service was asked wrongly.
        """
        try:
            value = self._site.rest.get(f"{_JOBS}/{segment(project)}/{segment(name)}")
        except RestError as error:
            if is_absence(error):
                return []
            raise
        found, broken = self._read_views(value)
        if broken:
            raise BackendError(f"what the service says of {name} cannot be read", next(iter(broken.values())))
        named = [each for each in found if (each.project, each.name) == (project, name)]
        if found and not named:
            other = f"such as {found[0].name} of {found[0].project}"
            raise BackendError(f"the service was asked for {name} and tells of other jobs", other)
        return named

    def _views(self, project: str) -> tuple[Sequence[View], Mapping[str, str]]:
        """The project's jobs, and why others cannot be read, by name: what somebody else made must not hide ours."""
        found, broken = self._read_views(self._site.rest.get(f"{_JOBS}/{segment(project)}"))
        return [each for each in found if each.project == project], broken

    def _read_views(self, value: Json) -> tuple[Sequence[View], Mapping[str, str]]:
        now = self._clock.now()
        found = []
        broken: dict[str, str] = {}
        for item in _data(value, "jobs"):
            try:
                found.append(view(item, now))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                name = item.get("name") if isinstance(item, dict) else None
                detail = f"{type(error).__name__}: {str(error)[:200]}"
                if not isinstance(name, str):
                    raise BackendError("the service's answer is no list of jobs", detail) from error
                broken[name] = detail
        return found, broken

    # --- marks --------------------------------------------------------------------------------------------------------

    def find(self, marks: Collection[Mark]) -> Mapping[Mark, Found | Absent | Unknown]:
        """By name: a job of the name is the attempt's unless its image, its kind or its age say otherwise (`whose`)."""
        if not marks:
            return {}
        project = self._site.project
        asked_at = self._clock.now()
        if len(marks) > FEW:
            found, broken = self._views(project)
            by_name: dict[str, list[View]] = defaultdict(list)
            for each in found:
                by_name[each.name].append(each)
            return {
                mark: Unknown(f"what the service says of {mark.name} cannot be read: {broken[mark.name]}") if mark.name in broken
                else self._judge(mark, by_name.get(mark.name, []), asked_at) for mark in marks
            }
        return {mark: self._judge(mark, self._named(project, mark.name), asked_at) for mark in marks}

    def _judge(self, mark: Mark, named: Sequence[View], asked_at: datetime) -> Found | Absent | Unknown:
        if len(named) > 1:
            return Unknown(f"{len(named)} jobs are named {mark.name}: {', '.join(each.id for each in named[:5])}")
        if named:
            verdict = whose(named[0], mark)
            if verdict is Whose.DOUBTFUL:
                return Unknown(
                    f"a job named {mark.name} was made at {timestamp(named[0].created)}, about when this attempt began: "
                    f"a name that was chosen does not tell whether it is this one ({named[0].id})",
                )
            return Found(as_ref(named[0]), mark.body if verdict is Whose.OURS else _OTHER)
        begun = datetime.fromisoformat(mark.begun_at)
        if asked_at < begun + _SETTLE:
            return Unknown(f"it may still appear: its absence is certain from {timestamp(begun + _SETTLE)} on")
        return removed_by_ttl(mark, asked_at) or Absent()

    # --- calls that change something ----------------------------------------------------------------------------------

    def submit(self, submission: Submission, mark: Mark) -> Ref:
        project = self._site.project
        body = wire_body(submission.spec, mark.name, project)
        before = frozenset(each.id for each in self._named(project, mark.name)) if is_chosen(mark) else frozenset()
        self._place.effect("remote.create.before", mark.address)
        try:
            value = self._site.rest.change("POST", _JOBS, body)
        except RestError as error:
            if not _is_taken(error):
                raise
            return self._taken(project, mark, error)
        self._place.effect("remote.create.after", mark.address)
        name = value.get("name") if isinstance(value, dict) else None
        if not isinstance(name, str) or not name or len(name) > _LONGEST_NAME or not name.isprintable():
            detail = f"it was to be {mark.name}, and the answer says {str(name)[:100]!r}"
            raise BackendError("the service's answer does not name the new job", detail, ambiguous=True)
        return self._made(project, mark, name, before)

    def _made(self, project: str, mark: Mark, name: str, before: Collection[str]) -> Ref:
        """The reference of a job that was accepted; while its id is not known, looking it up again is the way on.

        name: what the service says that the job is called; where that is not what it was told, the job must be the attempt's by
        all that can be known of it. before: the ids of jobs that had the name already: a list that is behind may still show them.
        """
        try:
            for pause in _LOOKS:
                self._clock.sleep(pause)
                fresh = [each for each in self._named(project, name) if not each.going and each.id not in before]
                called = replace(mark, name=name, spec={**mark.spec, "job_name": name})
                if found := [each for each in fresh if name == mark.name or whose(each, called) is Whose.OURS]:
                    return as_ref(max(found, key=lambda each: each.created))
        except BackendError as error:
            summary = f"{name} was accepted, and its id could not be read: {error.summary}"
            raise BackendError(summary, error.detail, ambiguous=True) from error
        raise BackendError(f"{name} was accepted and is not listed yet", "it will be looked up again", ambiguous=True)

    def _taken(self, project: str, mark: Mark, error: RestError) -> Ref:
        """The name exists: by an earlier call for the same attempt, if it was made for that, or by somebody else."""
        found = next(iter(self._named(project, mark.name)), None)
        if found is None:
            raise BackendError(error.summary, f"{error.detail}; no job of that name is listed", retryable=True) from error
        if found.going:
            raise BackendError(
                f"a job named {mark.name} is still being removed", error.detail, retryable=True, retry_after=2.0,
            ) from error
        if not is_chosen(mark) and whose(found, mark) is Whose.OURS:
            return as_ref(found)
        over = found.actual.phase in ENDED  # perhaps the attempt before, whose removal takes its time
        raise BackendError(
            f"a job named {mark.name} exists in {project} and is not this one",
            f"it was made at {timestamp(found.created)} with the image {found.image or '(unknown)'}; delete it first, choose "
            "another job_name, or take it over with jobform import",
            retryable=over, retry_after=2.0 if over else 0.0,
        ) from error

    def update(self, ref: Ref, submission: Submission, expected: Actual) -> Actual:
        del ref, submission, expected
        raise BackendError("no field of a job can be changed", "the job API of Run:ai has no call for it")

    def cancel(self, ref: Ref, *, only_if_waiting: bool) -> None:
        """The service has no stop that keeps the job, and none that depends on its state.

        A job that is `Terminating` may only lose its place, and come back: it is removed as well.
        """
        job = job_ref(ref)
        found = self._look(job)
        if found is None or found.actual.phase in ENDED:
            return
        if only_if_waiting and found.actual.started_at is not None:
            raise Started(f"{job.name} is {found.actual.phase}")
        self._stops.ask(job.id, found.actual.started_at)
        try:
            self._remove(job)
        except BackendError as error:
            if not error.ambiguous:
                self._stops.withdraw(job.id)
            raise

    def delete(self, ref: Ref, *, whole: bool = False) -> None:
        del whole  # attempts share nothing
        job = job_ref(ref)
        found = self._look(job)
        if found is None or found.going:
            return
        if found.actual.phase not in ENDED:
            raise BackendError(f"{job.name} has not ended: it is {found.actual.phase}")
        self._remove(job)

    def _remove(self, job: JobRef) -> None:
        """One answer for each name, inside a success."""
        value = self._site.rest.change("DELETE", _JOBS, [{"name": job.name, "project": job.project}])
        try:
            mine = [item for item in _data(value, "removals") if isinstance(item, dict) and item.get("name") == job.name]
        except BackendError as error:
            raise BackendError(error.summary, error.detail, ambiguous=True) from error
        if len(mine) != 1:
            raise BackendError(f"the service's answer does not say whether {job.name} was removed", ambiguous=True)
        failed = mine[0].get("error")
        if mine[0].get("ok") is True or (isinstance(failed, dict) and failed.get("status") == 404):
            return
        code, message = explain({"error": failed})
        why = message[:500] or "no word about it"
        raise BackendError(f"{job.name} could not be removed: {why}", f"status {code or 'unknown'}")

    # --- further protocols --------------------------------------------------------------------------------------------

    def differences(self, spec: Mapping[str, Json], actual: Actual) -> Iterator[Difference]:
        """The service reports the image and the kind of a job, and nothing else of what was submitted."""
        return differences(spec, actual.fields)

    def lookup(self, run_id: str) -> Sighting | None:
        """run_id: a job's name, as people see it, or its id."""
        views, broken = self._views(self._site.project)
        found = next((each for each in views if run_id in (each.name, each.id)), None)
        if found is None and run_id in broken:
            raise BackendError(f"what the service says of {run_id} cannot be read", broken[run_id])
        return _sighting(found) if found else None

    def list(self) -> Iterator[Sighting]:
        views, broken = self._views(self._site.project)
        if broken:
            name, why = next(iter(broken.items()))
            raise BackendError(f"what the service says of {name} cannot be read", why)
        newest = sorted(views, key=lambda each: (each.created, each.name), reverse=True)
        return (_sighting(each) for each in newest)

    def logs(self, ref: Ref, options: LogOptions) -> Iterator[bytes]:
        del options
        job = job_ref(ref)
        raise no_logs(job.name, job.project)

    def kept(self, ref: Ref, limit: int) -> bytes:
        del ref, limit
        return b""


def no_logs(name: str, project: str) -> BackendError:
    """Why there are no logs, and where they are."""
    return BackendError(
        "the Run:ai API has no logs",
        f"while its pods exist: runai logs {name} -p {project}, or kubectl logs of its pod in the namespace runai-{project}",
    )


def _data(value: Json, what: str) -> Sequence[Json]:
    """What an answer wraps. Raises BackendError."""
    data = value.get("data") if isinstance(value, dict) else None
    if data is None and isinstance(value, dict) and "data" in value:
        return []
    if not isinstance(data, list):
        raise BackendError(f"the service's answer is no list of {what}", f"it is {str(value)[:100]!r}")
    return data


def _is_taken(error: RestError) -> bool:
    return error.status == 409 or (400 <= error.status < 500 and "already exists" in error.summary.lower())


def _sighting(found: View) -> Sighting:
    return Sighting(as_ref(found), found.name, "", found.actual, found.name, timestamp(found.created))
