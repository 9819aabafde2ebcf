"""What the server says that the calls of a plan would do: dry-run applies, with validation, quotas and webhooks, storing nothing.

A submission is asked as a new object. An update is asked twice when somebody else holds one of its fields: plainly, which names
who, then as it will be made. Of an account that may not ask, the rules of the server's version say what they can.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from jobform.backends.kubernetes.composed import Composed, Manifest
from jobform.backends.kubernetes.effects import restarting
from jobform.backends.kubernetes.fields import WORKLOAD, concerned, made, manifest, numbered, origin, readable, steps_of
from jobform.backends.kubernetes.identity import mark_of, of_job, owner_of, remade, same_attempt
from jobform.backends.kubernetes.managed import Steps, shown
from jobform.backends.kubernetes.names import LABELS, QUEUE_NAME
from jobform.backends.kubernetes.queue_check import QueueCheck
from jobform.backends.kubernetes.refs import JobRef, parsed
from jobform.backends.kubernetes.refusals import Asked, verdict
from jobform.backends.kubernetes.resend import resent
from jobform.backends.kubernetes.shapes import mapping, maps, text
from jobform.backends.kubernetes.site import Site, uid_of
from jobform.backends.kubernetes.submit import NO_VERSION, with_uid
from jobform.backends.kubernetes.versions import Version, fixed, unknown_since
from jobform.clients.kube.errors import KubeError
from jobform.clients.kube.wire import Answer
from jobform.model.errors import BackendError
from jobform.model.state import Op
from jobform.model.values import Json, Path, digest
from jobform.protocols import Forecast, Intended, Ref

_OK = Forecast("ok")
_NEW = {"resourceVersion": NO_VERSION}
"""An apply that carries it creates an object or is refused, also as a dry run."""
_MOST_THREADS = 64


def preflight(site: Site, intended: Collection[Intended], parallelism: int) -> Mapping[str, Forecast]:
    """By address. Changes nothing. One call per object of a submission, two or three for an update, `parallelism` at a time.

    Of new runs that differ only in texts that no server judges, as those of a sweep do, one is asked about; when that is refused,
    all are.

    Raises BackendError only when nobody can be asked at all: no connection, or no credentials that the server accepts.
    """
    if not intended:
        return {}
    asker = _Asker(site)
    workers = max(1, min(parallelism, len(intended), _MOST_THREADS))
    alike: dict[str, list[Intended]] = defaultdict(list)
    for each in intended:
        alike[asker.shape(each)].append(each)
    with ThreadPoolExecutor(workers, thread_name_prefix="preflight") as pool:
        leaders = [group[0] for group in alike.values()]
        answers = dict(zip((each.mark.address for each in leaders), pool.map(asker.ask, leaders), strict=True))
        others = [each for group in alike.values() if answers[group[0].mark.address].verdict != "ok" for each in group[1:]]
        answers |= dict(zip((each.mark.address for each in others), pool.map(asker.ask, others), strict=True))
    return {each.mark.address: answers.get(each.mark.address, _OK) for each in intended}


class _Asker:
    """Asks about one call after the other, from several threads; what they have in common is asked once."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._namespace = site.namespace  # raises when there is no cluster: that is no job's fault
        self._queue = QueueCheck(site)
        self._denied: dict[tuple[str, str], Forecast] = {}

    def shape(self, intended: Intended) -> str:
        """Equal for submissions of which a server says the same: without names that jobform makes, commands and plain values."""
        own = digest(intended.mark.text)
        named = any(mapping(each, "metadata").get("name") for each in mapping(dict(intended.submission.spec), "objects").values())
        if intended.op is not Op.SUBMIT or intended.ref is not None or named:
            return own
        try:
            composed = self._composed(intended)
        except BackendError:
            return own
        if composed.companions:
            return own
        metadata = {key: value for key, value in mapping(composed.workload, "metadata").items() if key != "name"}
        return digest(_shape({**composed.workload, "metadata": metadata}))

    def ask(self, intended: Intended) -> Forecast:
        """Raises BackendError when the cluster cannot be asked."""
        try:
            composed = self._composed(intended)
        except BackendError as error:
            return Forecast("refused", summary=error.summary, detail=error.detail)
        asked = Asked(intended, composed)
        try:
            queue = self._queue(asked)
        except KubeError as error:
            return verdict(error, asked)
        if queue.verdict != "ok":
            return queue
        forecast = self._update(asked) if intended.op is Op.UPDATE else self._submit(asked)
        return replace(forecast, warnings=(*forecast.warnings, *queue.warnings))

    def _composed(self, intended: Intended) -> Composed:
        mark = intended.mark
        if intended.op is Op.UPDATE and intended.ref is not None:  # it keeps the name that it was made with
            mark = remade(mark.text, mark.address, JobRef.parse(intended.ref).name)
        return self._site.composed(intended.submission, mark)

    # --- submissions

    def _submit(self, asked: Asked) -> Forecast:
        warnings: list[str] = []
        for index in (*range(len(asked.composed.companions)), WORKLOAD):
            forecast = self._create(replace(asked, index=index))
            warnings += forecast.warnings
            if forecast.verdict != "ok":
                return replace(forecast, warnings=tuple(dict.fromkeys(warnings)))
        return Forecast("ok", warnings=tuple(dict.fromkeys(warnings)))

    def _create(self, asked: Asked) -> Forecast:
        """Whether one object would be made; one of this job that has the name is gone by then, or is brought up to date."""
        obj = manifest(asked.composed, asked.index)
        if denied := self._denied.get(_type(obj)):
            return denied
        try:
            if asked.index == WORKLOAD and _is_replaced(asked):
                return self._kept(asked, self._dry_run(_renamed(obj)))
            try:
                return self._kept(asked, self._dry_run(_with(obj, _NEW)))
            except KubeError as error:
                if error.status != 409 and not error.immutable:
                    raise  # it is about what was sent, not about what is there
            return self._existing(asked, obj)
        except KubeError as error:
            return self._verdict(error, asked)

    def _existing(self, asked: Asked, obj: Manifest) -> Forecast:
        live = self._site.get(self._site.path_of(obj, self._namespace))
        if live is None:
            return self._kept(asked, self._dry_run(_with(obj, _NEW)))
        if not of_job(live, asked.intended.mark.text) and not _has(asked.intended.ref, live):
            named = origin(asked.composed, asked.index, ("metadata", "name"))
            return Forecast(
                "taken", path=named, summary=f"{asked.what} exists already and is not this job's", detail=owner_of(live),
                hint=("give it another metadata.name, or " if named else "") + "remove that object if nobody needs it",
            )
        if asked.index != WORKLOAD:
            return self._kept(asked, self._dry_run(with_uid(obj, uid_of(live))))
        if same_attempt(mark_of(live), asked.intended.mark.text):
            return _OK  # it was submitted before: the next apply takes it as it is
        return self._kept(asked, self._dry_run(_renamed(obj)))

    def _kept(self, asked: Asked, answer: Answer) -> Forecast:
        """`ok`, unless the server dropped a field without a word, as an old one or one without a feature gate does."""
        warnings = list(answer.warnings)
        for steps in _dropped(manifest(asked.composed, asked.index), answer.body, ()):
            version, path = self._version(), shown(steps)
            since, place = unknown_since(version, path), readable(path)
            if since is not None:
                source = asked.composed.spec_path(path) if asked.index == WORKLOAD else None
                return Forecast(
                    "refused", path=source, summary=f"{place} would be dropped: Kubernetes {version} does not have it",
                    hint=f"it needs {since} or later",
                )
            warnings.append(f"the cluster drops {place} of {asked.what}")
        return Forecast("ok", warnings=tuple(warnings))

    # --- updates

    def _update(self, asked: Asked) -> Forecast:
        assert asked.intended.ref is not None, "an update has a run"
        job = JobRef.parse(asked.intended.ref)
        try:
            live = self._site.get(self._site.ref_path(job))
            if live is None or uid_of(live) != job.uid:
                why = "it was removed" if live is None else "another object has its name"
                return Forecast("refused", summary=f"{job} is not there any more: {why}", hint="run plan again")
            for index in range(len(asked.composed.companions)):
                forecast = self._companion(replace(asked, index=index), job)
                if forecast.verdict != "ok":
                    return forecast
            return self._in_place(asked, live)
        except KubeError as error:
            return self._verdict(error, asked)

    def _companion(self, asked: Asked, job: JobRef) -> Forecast:
        """Of the companions only those that the changed fields make; what is the attempt's alone stays as it is."""
        obj = manifest(asked.composed, asked.index)
        changed = any(True for field in asked.intended.fields for _ in made(asked.composed, asked.index, field))
        known = {(companion.kind, companion.name): companion for companion in job.companions}
        companion = known.get((text(obj, "kind"), text(obj, "metadata", "name")))
        if not changed or companion is None or job.belongs(companion):
            return _OK
        return self._forced(asked, with_uid(obj, companion.uid))[0]

    def _in_place(self, asked: Asked, live: Manifest) -> Forecast:
        forecast, after = self._denied.get(_type(asked.composed.workload)), None
        if forecast is None:
            forecast, after = self._forced(asked, resent(asked.composed, live, asked.intended.fields))
        if forecast.verdict == "unasked" and (paths := self._by_version(asked, live)):
            return replace(forecast, verdict="fixed", paths=paths)
        if forecast.verdict not in ("ok", "unasked"):
            return forecast
        steps, why = restarting(asked.composed, live, after)
        if not steps:
            return forecast
        changed = tuple(dict.fromkeys(path for step in steps for path in _fields_of(asked, step)))
        return replace(forecast, verdict="restarts", paths=changed, summary="", detail=why, hint="")

    def _forced(self, asked: Asked, body: Manifest) -> tuple[Forecast, Manifest | None]:
        """Dry-run as it will be made, and what the server makes of it; what it takes from others is told."""
        taken: tuple[str, ...] = ()
        try:
            try:
                answer = self._dry_run(body)
            except KubeError as error:
                if not error.conflicts:
                    raise
                held = sorted((readable(shown(steps_of(each.field, dict(body)))), each.manager) for each in error.conflicts)
                taken = tuple(f"{asked.what}: {place} was set by {manager}; the update takes it back" for place, manager in held)
                answer = self._dry_run(body, force=True)
        except KubeError as error:
            return replace(self._verdict(error, asked), warnings=taken), None
        return Forecast("ok", warnings=(*taken, *answer.warnings)), dict(answer.body)

    def _by_version(self, asked: Asked, live: Manifest) -> tuple[Path, ...]:
        """The fields that the server's version cannot change in place; only known for a Job."""
        if asked.composed.kind.key != "Job" or self._version() == (0, 0):
            return ()
        workload = asked.composed.workload
        return tuple(
            field for field in asked.intended.fields
            if fixed(self._version(), dict(live), workload, made(asked.composed, WORKLOAD, field))
        )

    # --- what all have in common

    def _dry_run(self, body: Manifest, *, force: bool = False) -> Answer:
        return self._site.client.apply(self._site.path_of(body, self._namespace), body, dry_run=True, force=force)

    def _verdict(self, error: KubeError, asked: Asked) -> Forecast:
        """A right that is missing is missing for all objects of the type: they are not asked."""
        forecast = verdict(error, asked)
        if error.denied_by == "rbac":
            self._denied[_type(manifest(asked.composed, asked.index))] = forecast
        return forecast

    def _version(self) -> Version:
        try:
            return Version(*self._site.client.version())
        except KubeError:
            return Version(0, 0)  # without it the rules that depend on it say nothing


def _has(ref: Ref | None, live: Manifest) -> bool:
    """Whether an object is a companion of a run, as of one that was taken over from another project."""
    return any(companion.uid == uid_of(live) for job in parsed([ref] if ref else []) for companion in job.companions)


def _is_replaced(asked: Asked) -> bool:
    """Whether the present run has the very name that the new one is to have, and is removed before it."""
    intended, workload = asked.intended, asked.composed.workload
    if not intended.ends or intended.ref is None:
        return False
    job = JobRef.parse(intended.ref)
    return (job.kind, job.name) == (text(workload, "kind"), text(workload, "metadata", "name"))


def _fields_of(asked: Asked, steps: Steps) -> tuple[Path, ...]:
    """The changed fields that make a part of the object; one that was dropped makes nothing, and is known by its name."""
    fields = asked.intended.fields
    return (
        concerned(asked.composed, WORKLOAD, fields, steps)
        or tuple(field for field in fields if steps[-1] == QUEUE_NAME and {"queue", QUEUE_NAME} & set(field))
        or fields
    )


def _shape(value: Json) -> Json:
    """An object without the texts that no server judges."""
    if isinstance(value, list):
        return [_shape(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: item if isinstance(item, str) else _shape_of(key, item) for key, item in value.items()}


def _shape_of(key: str, value: Json) -> Json:
    if key in ("command", "args"):
        return None
    if key == "env":
        return [{**each, "value": ""} if "value" in each else each for each in maps(value)]
    if key == "labels" and isinstance(value, dict):
        return {name: label for name, label in value.items() if name not in LABELS}
    if key == "annotations" and isinstance(value, dict):
        return [*sorted(value)]
    return _shape(value)


def _with(obj: Manifest, more: Mapping[str, Json]) -> Manifest:
    return {**obj, "metadata": {**mapping(obj, "metadata"), **more}}


def _renamed(obj: Manifest) -> Manifest:
    """The same under a name that nobody has, of the same length where that is possible: names become labels of limited length."""
    name = text(obj, "metadata", "name")
    mixed = digest(name)[:6]
    return _with(obj, {**_NEW, "name": f"{name[:-7].rstrip('.-')}-{mixed}" if len(name) > 8 else f"{name}-{mixed}"})


def _type(obj: Manifest) -> tuple[str, str]:
    return text(obj, "apiVersion"), text(obj, "kind")


def _dropped(want: Json, have: Json, path: Steps) -> Iterator[Steps]:
    """Where the server kept nothing of what was sent. What is empty or zero it may leave out; names and lists it may complete."""
    if isinstance(want, dict):
        for name, value in want.items():
            if name in ("resourceVersion", "name", "uid") and path == ("metadata",):
                continue
            if not isinstance(have, dict) or name not in have:
                if value and not _is_empty(value):
                    yield (*path, name)
            else:
                yield from _dropped(value, have[name], (*path, name))
    elif isinstance(want, list) and isinstance(have, list):
        for index, value in enumerate(want):
            if index < len(have):
                yield from _dropped(value, have[index], (*path, numbered(index, want, path)))


def _is_empty(value: Json) -> bool:
    """Whether nothing but empty maps and lists, zeros and nulls is in a value."""
    if isinstance(value, dict):
        return all(_is_empty(item) for item in value.values())
    if isinstance(value, list):
        return all(_is_empty(item) for item in value)
    return not value
