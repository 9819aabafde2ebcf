"""The calls of on-demand jobs, and the backend that makes them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from posixpath import normpath
from urllib.parse import urlsplit

from jobform.backends.remote import EARLY, Promise, RemoteBackend, RemoteType, Seen, id_of, key_scope, shaped
from jobform.backends.unstructured.progress import Progress
from jobform.backends.unstructured.results import Left, Shelf, directory_of, fetch, inputs_of, results_of, shared_places
from jobform.backends.unstructured.wire import (
    Details,
    FailedFile,
    details_of,
    explain,
    failed_of,
    input_ids,
    part_of,
    request_data,
    same_names,
    seen_of,
)
from jobform.clients.gate import Pace
from jobform.clients.hosts import Base, base_url
from jobform.clients.keys import HeldKey, Key
from jobform.clients.rest.client import FilePart, Limits, Outgoing, Rest, RestError, segment
from jobform.clients.text import short
from jobform.model.errors import BackendError
from jobform.model.files import FileError
from jobform.model.inputs import accepted_input, size_text
from jobform.model.state import ENDED, Op, Phase
from jobform.model.values import Json
from jobform.protocols import (
    UNKNOWN_TEXT,
    Absent,
    Actual,
    Forecast,
    Found,
    Intended,
    LogOptions,
    Mark,
    Place,
    Ref,
    Scope,
    Sighting,
    Submission,
    Unknown,
)

_JOBS = "/api/v1/jobs/"
_TEMPLATES = "/api/v1/templates/"

_SETTLE = 600.0
"""Seconds after which a job that no list shows was never made."""

_CREATES = 1.0
"""Creates a second: more of them are refused."""

_MOST = 256 << 20
"""Bytes of an answer: a list has every job that the account ever had, and an output may have a page's image in every element."""

_PATIENT = Limits(read=60.0, total=300.0, cap=_MOST)
"""Of calls that carry files."""

_MAX_FILE = 10_000_000

_EXCHANGED = "the key was exchanged while this command ran, and its account may be another one"


class UnknownJobError(BackendError):
    """The service knows no job of this id; since it forgets none, that says more about the key than about the job."""


class _Credentials:
    """An API key from the environment, or from a file that the environment names."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._held = HeldKey(environ, ["UNSTRUCTURED_API_KEY"], "Unstructured")
        self._stated: Key | None = None

    @property
    def source(self) -> str:
        return self._held.source

    def state(self) -> Key:
        """The key that what is begun from now on is recorded with."""
        self._stated = self._held.key()
        return self._stated

    @property
    def changed(self) -> bool:
        """Whether the key is another one than was stated: it may be one of another account."""
        return self._stated is not None and self._held.key().value != self._stated.value

    def headers(self, request: Outgoing) -> Mapping[str, str]:
        key = self._held.key()
        if request.changing and request.path.endswith(_JOBS) and self.changed:
            detail = f"what was begun names the key that was in {self.source} before; run again"
            raise BackendError(_EXCHANGED, detail)
        return {"unstructured-api-key": key.value}

    def renew(self) -> bool:
        return self._held.renew()


class Unstructured:
    """`remote.Service`: on-demand jobs of the key's account."""

    def __init__(self, settings: Mapping[str, Json], place: Place) -> None:
        url, limit = settings.get("url"), settings.get("max_file_bytes")
        given = base_url(
            url if isinstance(url, str) else None, ("UNSTRUCTURED_API_URL",), "https://platform.unstructuredapp.io",
            ("platform.unstructuredapp.io", "*.unstructuredapp.io"), place.environ,
        )
        self._base = Base(given.url.removesuffix("/api/v1"), given.source)
        self._credentials = _Credentials(place.environ)
        self._rest, self._files = (
            Rest(self._base, self._credentials, place.clock, place.environ, explain=explain, limits=limits)
            for limits in (Limits(cap=_MOST), _PATIENT)
        )
        self._pace = Pace(place.clock, _CREATES)
        self._place = place
        self.max_file = limit if isinstance(limit, int) else _MAX_FILE

    def scope(self) -> Scope:
        """The host and the key, which it accepts. Which account the key is of, nothing tells."""
        self._listed(self._rest.get(_JOBS, [("status", "SCHEDULED")]))
        host, key = urlsplit(self._base.url).netloc, self._credentials.state()
        described = f"the account of {key.source} at {host}"
        return key_scope("unstructured", host, key, described, f"{self._base.source} and {key.source}")

    @property
    def doubt(self) -> str:
        """Why what a list does not show may have been made all the same; "" for nothing."""
        return _EXCHANGED if self._credentials.changed else self._clock_off()

    def _clock_off(self) -> str:
        ahead = self._rest.clock_ahead
        if ahead is None or abs(ahead) < EARLY:
            return ""
        way = "ahead of" if ahead > timedelta() else "behind"
        return f"this machine's clock is {abs(ahead) // timedelta(minutes=1)} min {way} that of {self._base.host}"

    def one(self, run_id: str) -> Seen | None:
        """Raises UnknownJobError where the service has none: never a proof that the job has gone."""
        seen = self._seen(self._get(run_id))
        if seen.actual.phase is not Phase.FAILED:
            return seen
        why = self._why(run_id) or seen.actual.native_reason
        return replace(seen, actual=replace(seen.actual, native_reason=why), whole=True)

    def pages(self, since: datetime | None) -> Iterator[Sequence[Seen]]:
        """Everything at once: the list has no pages, and no order that it promises."""
        del since
        yield [self._seen(item) for item in self._listed(self._rest.get(_JOBS))]

    def create(self, submission: Submission, mark: Mark) -> str:
        """A repeated create makes a second job, and nothing in it could tell whose it is: nothing of `mark` is sent."""
        del mark
        if off := self._clock_off():
            raise BackendError(off, "were the answer lost, the times of jobs could not tell whether one was made; set the clock")
        files = list(self._parts(submission))
        self._pace.wait()
        value = self._files.upload(_JOBS, {"request_data": request_data(submission.spec)}, files)
        try:
            return self._seen(value).id
        except BackendError as error:
            raise BackendError(error.summary, error.detail, ambiguous=True) from error

    def update(self, run_id: str, submission: Submission, expected: Actual) -> Actual:
        """Nothing of a job can change but where its results go, which is this side's own."""
        del expected
        actual = self._seen(self._get(run_id)).actual
        if actual.phase is Phase.SUCCEEDED and (missing := self._left(run_id, submission.spec, actual).missing):
            raise BackendError("not all of the results could be had and written", "; ".join(missing))
        return actual

    def cancel(self, run_id: str) -> None:
        """The answer is any JSON and says nothing; what has ended meanwhile needs no stop."""
        try:
            self._rest.change("POST", f"{_job(run_id)}/cancel")
        except RestError as error:
            if not 400 <= error.status < 500 or error.status in (401, 403, 429):
                raise
            if self._seen(self._get(run_id)).actual.phase not in ENDED:
                raise

    def delete(self, run_id: str) -> None:
        """The service keeps every job."""

    def collect(self, run_id: str, spec: Mapping[str, Json], actual: Actual) -> Actual:
        """See `protocols.Collecting`."""
        left = self._left(run_id, spec, actual)
        return replace(actual, outputs=left.outputs, warnings=(*actual.warnings, *left.told, *left.missing))

    def details(self, run_id: str) -> Details:
        return details_of(self._rest.get(f"{_job(run_id)}/details"))

    def failed(self, run_id: str) -> list[FailedFile]:
        return failed_of(self._rest.get(f"{_job(run_id)}/failed-files"))

    def templates(self) -> list[str]:
        """The ids of the templates that the service lists."""
        listed = self._rest.get(_TEMPLATES)
        if not isinstance(listed, list):
            raise BackendError("the service's answer is no list of templates")
        return [run for item in listed if isinstance(item, dict) and isinstance(run := item.get("id"), str)]

    def check_files(self, submission: Submission) -> None:
        """Whether the files can be sent, and their results kept beside them. Raises BackendError."""
        for _ in self._parts(submission):
            pass
        own = {normpath(path) for path in inputs_of(submission.spec)}
        for place, path in results_of(submission.spec).items():
            if place in own:
                detail = f"{path} is read, and its elements would be written to {place}, which is an input too"
                raise BackendError("a result would take the place of an input file", f"{detail}: choose another download_to")

    def _left(self, run_id: str, spec: Mapping[str, Json], actual: Actual) -> Left:
        with _credentials_end():
            failed = self.failed(run_id) if self.details(run_id).has_failures else []
        shelf = Shelf(input_ids(actual.native), failed, partial(self._output, run_id))
        return fetch(shelf, inputs_of(spec), directory_of(spec), self._place.project)

    def _parts(self, submission: Submission) -> Iterator[FilePart]:
        paths = inputs_of(submission.spec)
        if alike := same_names(paths):
            detail = f"{alike[0]} and {alike[1]}: the service, and download_to, tell files by their names alone"
            raise BackendError("two input files have one name", detail)
        for path in paths:
            try:
                (file,) = accepted_input(self._place.project, submission.inputs, path, self.max_file)
            except BackendError as error:
                large = isinstance(error.__cause__, FileError) and error.__cause__.code == "file_too_large"
                hint = f"max_file_bytes of the backend is {size_text(self.max_file)}" if large else error.detail
                raise BackendError(error.summary, hint) from error
            yield part_of(path, file.data)

    def _get(self, run_id: str) -> Json:
        try:
            return self._rest.get(_job(run_id))
        except RestError as error:
            if error.status != 404 or not isinstance(error.body, dict):  # a page of a proxy says nothing
                raise
            detail = f"it forgets none, so the key of {self._credentials.source} is probably one of another account"
            raise UnknownJobError(f"{self._base.host} does not know the job {short(run_id, 80)}", detail) from error

    def _why(self, run_id: str) -> str:
        """Why a job failed, "" where the service does not say."""
        try:
            told = self.details(run_id)
            first = self.failed(run_id)[:1] if told.has_failures else []
        except BackendError as error:
            if error.retryable:
                raise
            return f"FAILED; why cannot be read: {error.summary}"
        return told.message or (f"{first[0].document}: {first[0].error}" if first else "")

    def _output(self, run_id: str, file: str) -> bytes:
        self._place.effect("remote.download.before", run_id)
        with _credentials_end():
            return self._files.download(f"{_job(run_id)}/download", [("file_id", file)])

    def _seen(self, value: Json) -> Seen:
        now = self._place.clock.now()
        return shaped(lambda job: seen_of(job, now), value, "job")

    def _listed(self, value: Json) -> list[Json]:
        if not isinstance(value, list):
            raise BackendError("the service's answer is no list of jobs")
        return value


class UnstructuredBackend(RemoteBackend):
    """On-demand jobs, with their progress as logs and their results fetched.

    None of their runs is ever `Gone`: a job that the service does not know is one that this key cannot see.
    """

    def __init__(self, service: Unstructured, place: Place) -> None:
        super().__init__(service, Promise(_SETTLE, marked=False), place)
        self._jobs = service

    def delete(self, ref: Ref, *, whole: bool = False) -> None:
        try:
            super().delete(ref, whole=whole)
        except UnknownJobError:
            return  # nothing remains that could be removed

    def find(self, marks: Collection[Mark]) -> Mapping[Mark, Found | Absent | Unknown]:
        answers = super().find(marks)
        if not self._jobs.doubt:
            return answers
        unknown = Unknown(self._jobs.doubt)
        return {mark: unknown if isinstance(answer, Absent) else answer for mark, answer in answers.items()}

    def lookup(self, run_id: str) -> Sighting | None:
        try:
            return super().lookup(run_id)
        except UnknownJobError:
            return None

    def collect(self, ref: Ref, spec: Mapping[str, Json], actual: Actual) -> Actual:
        return self._jobs.collect(id_of(ref), spec, actual)

    def preflight(self, intended: Collection[Intended], parallelism: int) -> Mapping[str, Forecast]:
        """Whether the files can be sent, results get in each other's way, and the templates are known. One call in all, and only
        where templates are named.
        """
        del parallelism
        specs = [one.submission.spec for one in intended if one.op is Op.SUBMIT]
        named = {str(spec["template_id"]) for spec in specs if "template_id" in spec}
        known, unheard = self._templates(named - {UNKNOWN_TEXT})
        crowded = shared_places({one.mark.address: one.submission.spec for one in intended})
        found = {one.mark.address: self._forecast(one, known, unheard) for one in intended}
        return {name: replace(each, warnings=(*each.warnings, *crowded.get(name, ()))) for name, each in found.items()}

    def logs(self, ref: Ref, options: LogOptions) -> Iterator[bytes]:
        """How far each node is, and which files failed: jobs print nothing, so this is all there is."""
        _refuse_options(options)
        yield from self._progress(ref).lines(options)

    def kept(self, ref: Ref, limit: int) -> bytes:
        return b"".join(self._progress(ref).now())[-limit:]

    def _progress(self, ref: Ref) -> Progress:
        run = id_of(ref)

        def word() -> tuple[str, bool]:
            seen = self._jobs.one(run)
            assert seen is not None, "what is not there is an error"
            native = seen.actual.native
            return str(native.get("status")) if isinstance(native, dict) else "", seen.actual.phase in ENDED

        return Progress(word, partial(self._jobs.details, run), partial(self._jobs.failed, run), self._clock)

    def _templates(self, named: Collection[str]) -> tuple[Collection[str], str]:
        """Those that the service lists, and why it could not be asked."""
        if not named:
            return (), ""
        try:
            return self._jobs.templates(), ""
        except BackendError as error:
            return named, f"whether the template exists could not be asked: {error.summary}"

    def _forecast(self, one: Intended, known: Collection[str], unheard: str) -> Forecast:
        if one.op is not Op.SUBMIT:
            return Forecast("ok")  # nothing is sent
        try:
            self._jobs.check_files(one.submission)
        except BackendError as error:
            return Forecast("refused", path=("input_files",), summary=error.summary, detail=error.detail)
        template = one.submission.spec.get("template_id")
        if template is None or template == UNKNOWN_TEXT or template in known:
            return Forecast("ok", warnings=(unheard,) if unheard and template is not None else ())
        listed = ", ".join(sorted(short(name, 60) for name in known)[:10]) or "none"
        return Forecast("ok", warnings=(f"the service lists no template {short(str(template), 60)!r}; it lists {listed}",))


@contextmanager
def _credentials_end() -> Iterator[None]:
    """What a key that is not good any more cannot fetch is there for the next one."""
    try:
        yield
    except RestError as error:
        if error.status != 401:
            raise
        raise BackendError(error.summary, error.detail, retryable=True) from error


def _job(run_id: str) -> str:
    return f"{_JOBS}{segment(run_id)}"


def _refuse_options(options: LogOptions) -> None:
    for given, flag, why in (
        (options.index is not None, "--index", "A job is one chain of nodes."),
        (options.container, "--container", "A job has nodes, not containers; all of them are shown."),
        (options.previous, "--previous", "The service never starts a job again by itself; --attempt shows an earlier attempt."),
        (options.since is not None, "--since", "What is shown is the present, and carries no time."),
    ):
        if given:
            raise BackendError(f"{flag} has no meaning for a job on an unstructured backend", why)


TYPE = RemoteType("unstructured", lambda settings, place: UnstructuredBackend(Unstructured(settings, place), place))
