"""From `manifest` or `manifest_file` to `objects`: one job-like document, and what stands beside it as companions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from jobform.backends.kubernetes.arrange_checks import apply_faults, plain_secrets, yaml_leftovers
from jobform.backends.kubernetes.arrange_kinds import Verdict, classify
from jobform.backends.kubernetes.arrange_metadata import cleaned
from jobform.backends.kubernetes.kinds import Kind, Kinds
from jobform.model.values import Json, Path, is_deferred
from jobform.protocols import Arranged, Claim, Complaint, Spot, Written

FORMS = ("image", "manifest", "manifest_file")
MAX_OBJECTS = 100
"""How many objects one job may have."""


def arrange(spec: dict[str, Json], settings: Mapping[str, Json], written: Written) -> Arranged:
    """See `protocols.Arranging`. A spec without a manifest is left as it is."""
    work = _Work(settings, written, Kinds.builtin().with_project(settings.get("kinds")))
    documents = list(work.documents(spec))
    if work.left_alone:
        return Arranged(spec, complaints=tuple(work.complaints), judge=not work.complaints)
    for document, spot in documents[:MAX_OBJECTS]:
        work.add(document, spot)
    if len(documents) > MAX_OBJECTS:
        work.error(documents[MAX_OBJECTS][1], "too_many_objects", f"a job has at most {MAX_OBJECTS} objects",
                   hint="split it into several jobs")
    elif work.items:
        work.check_one_job(documents[0][1])
    rest = {key: value for key, value in spec.items() if key not in ("manifest", "manifest_file", "manifest_template")}
    objects: dict[str, Json] = {item.key: item.body for item in work.items}
    origins: dict[Path, Spot] = {("objects", item.key): item.spot for item in work.items}
    claims = tuple(claim for item in work.items if (claim := item.claim) is not None)
    origins[("objects",)] = work.source
    return Arranged({**rest, "objects": objects}, origins, tuple(work.complaints), claims, judge=bool(objects))


@dataclass(frozen=True, slots=True)
class _Item:
    """One object. kind: None for a companion."""

    key: str
    api: str
    name: str
    body: dict[str, Json]
    spot: Spot
    kind: Kind | None

    @property
    def claim(self) -> Claim | None:
        """The object itself, which only one job of a place can be or have; one without a name gets its own."""
        if not self.name:
            return None
        what = str(self.body["kind"])
        group = self.api.rpartition("/")[0]
        return Claim(f"{group}/{what}/{self.name}", f"the {what} {self.name!r}", self.spot.below("metadata", "name"))


@dataclass(slots=True)
class _Work:
    """One spec being arranged. left_alone: it has no manifest to arrange. source: where the manifest is."""

    settings: Mapping[str, Json]
    written: Written
    kinds: Kinds
    items: list[_Item] = field(default_factory=list)
    complaints: list[Complaint] = field(default_factory=list)
    left_alone: bool = False
    source: Spot = Spot(("manifest",))  # noqa: RUF009  # frozen

    def error(self, spot: Spot, code: str, summary: str, detail: str = "", hint: str = "", *, at_key: bool = False) -> None:
        """Note an error."""
        self.complaints.append(Complaint(spot, code, summary, detail, hint, at_key))

    def documents(self, spec: dict[str, Json]) -> Iterator[tuple[Json, Spot]]:
        """Every object that the spec writes or names, lists of objects taken apart."""
        if "objects" in spec:
            self.left_alone = True
            self.error(Spot(("objects",)), "unknown_key", "'objects' is what jobform makes of a manifest",
                       hint="write manifest or manifest_file", at_key=True)
            return
        forms = [form for form in FORMS if form in spec]
        if len(forms) > 1:
            self.left_alone = True
            self.complaints.append(Complaint(
                Spot((forms[1],)), "exclusive_keys", f"{forms[0]} and {forms[1]} exclude each other",
                "a job is written with image and the keys beside it, or as a manifest", "keep one of them", at_key=True,
                related=((f"{forms[0]} is here", Spot((forms[0],))),),
            ))
        elif "manifest_template" in spec and forms != ["manifest_file"]:
            self.left_alone = True
            self.error(Spot(("manifest_template",)), "bad_value", "manifest_template is about manifest_file, which is not here",
                       hint="templates in manifest are always rendered", at_key=True)
        elif forms == ["manifest"]:
            yield from self._inline(spec["manifest"])
        elif forms == ["manifest_file"]:
            yield from self._file(spec)
        else:
            self.left_alone = True

    def _inline(self, manifest: Json) -> Iterator[tuple[Json, Spot]]:
        spot = Spot(("manifest",))
        if isinstance(manifest, list) and manifest:
            for index, item in enumerate(manifest):
                yield from _flat(item, spot.below(index))
        elif isinstance(manifest, dict) and manifest:
            yield from _flat(manifest, spot)
        else:
            self.error(spot, "wrong_type", "manifest must be a Kubernetes object, or a list of them",
                       hint="a file's name goes under manifest_file" if isinstance(manifest, str) else "")

    def _file(self, spec: dict[str, Json]) -> Iterator[tuple[Json, Spot]]:
        file, templates, spot = spec["manifest_file"], spec.get("manifest_template", False), Spot(("manifest_file",))
        if not isinstance(file, str):
            known_later = is_deferred(file)
            self.error(spot, "template_not_allowed" if known_later else "wrong_type",
                       "manifest_file cannot depend on a secret or on another job's output" if known_later
                       else "manifest_file must be the path of one file in the project")
            return
        if not isinstance(templates, bool):
            self.error(Spot(("manifest_template",)), "wrong_type", "manifest_template must be true or false")
            return
        documents = self.written.documents(file, spot, templates=templates)
        if documents is None:
            return
        self.source = Spot((), file)
        found = False
        for index, document in enumerate(documents):
            if document is not None:
                found = True
                yield from _flat(document, Spot((index,), file))
        if not found:
            self.error(spot, "no_job_object", f"{file} holds no object", hint="it must hold one job-like object, such as a Job")

    def add(self, document: Json, spot: Spot) -> None:
        """Note one object as the job or as a companion."""
        verdict = classify(document, spot, self.kinds, self.complaints.append)
        if verdict is None:
            return
        assert isinstance(document, dict), "what has a verdict is an object"
        body, complaints = cleaned(document, spot, verdict.kind, self.settings.get("namespace"))
        self.complaints += complaints
        if not any(not complaint.warning for complaint in complaints):
            self._note(verdict, body, spot)

    def _note(self, verdict: Verdict, body: dict[str, Json], spot: Spot) -> None:
        metadata = body.get("metadata")
        name = metadata.get("name", "") if isinstance(metadata, dict) else ""
        assert isinstance(name, str), "checked"
        if verdict.kind is None and not name:
            self.error(spot.below("metadata"), "missing_key", f"the {verdict.name} has no metadata.name",
                       "only the job-like object can go without: jobform names it", at_key=True)
            return
        item = _Item(verdict.kind.key if verdict.kind else f"{verdict.name}/{name}", verdict.api, name, body, spot, verdict.kind)
        first = next((known for known in self.items if known.key == item.key or (known.kind and item.kind)), None)
        if first is not None:
            self._again(first, item)
            return
        self.items.append(item)
        self.complaints += apply_faults(body, spot, verdict.kind)
        self.complaints += plain_secrets(body, spot)
        if not spot.file:
            self.complaints += yaml_leftovers(body, spot, self.written)

    def _again(self, first: _Item, item: _Item) -> None:
        """A second job-like object, or a companion that is there twice."""
        if item.kind is not None:
            self.complaints.append(Complaint(
                item.spot.below("kind"), "several_jobs", "a manifest holds one job-like object, and this is another",
                hint="make it a job of its own", related=(("the first is here", first.spot.below("kind")),),
            ))
            return
        self.complaints.append(Complaint(
            item.spot.below("metadata", "name"), "duplicate_object", f"the {item.body['kind']} {item.name!r} is there twice",
            hint="keep one of them", related=(("the first is here", first.spot.below("metadata", "name")),),
        ))

    def check_one_job(self, where: Spot) -> None:
        """There must be one thing that can succeed."""
        if any(item.kind is not None for item in self.items):
            return
        found = ", ".join(dict.fromkeys(f"{item.body['kind']} ({item.api})" for item in self.items))
        others = sorted({str(item.body["kind"]) for item in self.items if "." in item.api.partition("/")[0]})
        hint = "a Job, or another kind that ends by itself, must be among them"
        if others:
            hint = (f"if a {others[0]} ends by itself, add `kinds: {{{others[0]}: {{api: {_api_of(self.items, others[0])}}}}}` "
                    "to the backend in jobform.yaml")
        self.error(where.below("kind"), "no_job_object", "the manifest has no job-like object", f"it holds {found}", hint)


def _api_of(items: list[_Item], kind: str) -> str:
    return next(item.api for item in items if item.body["kind"] == kind)


def _flat(document: Json, spot: Spot) -> Iterator[tuple[Json, Spot]]:
    """The objects in a list of objects (`kind: List`), else the object itself."""
    kind = document.get("kind") if isinstance(document, dict) else None
    items = document.get("items") if isinstance(document, dict) else None
    if isinstance(kind, str) and kind.endswith("List") and isinstance(items, list):
        for index, item in enumerate(items):
            yield from _flat(item, spot.below("items", index))
    else:
        yield document, spot
