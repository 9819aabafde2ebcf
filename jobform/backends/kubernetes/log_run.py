"""One attempt's output: which containers it has just now, of those that were asked for."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from jobform.backends.kubernetes.log_reader import Reader
from jobform.backends.kubernetes.log_sources import Source, sources_of
from jobform.backends.kubernetes.names import ATTEMPT, JOB, LINEAGE
from jobform.backends.kubernetes.pods import is_of, key_of
from jobform.backends.kubernetes.refs import JobRef
from jobform.backends.kubernetes.shapes import line, number
from jobform.backends.kubernetes.site import Site, uid_of
from jobform.clients.kube.paths import object_path
from jobform.model.errors import BackendError
from jobform.model.state import ENDED
from jobform.model.values import Json
from jobform.protocols import LogOptions


@dataclass(frozen=True, slots=True)
class Look:
    """A run's containers at one moment. over: none will be added and none goes on. said: why there is none, as far as is known.

    several: it has, or will have, more than one pod.
    """

    sources: tuple[Source, ...]
    over: bool
    said: str = ""
    several: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """The containers of one attempt's pods, as `options` choose them."""

    site: Site
    ref: JobRef
    options: LogOptions = field(default_factory=LogOptions)

    def look(self) -> Look:
        """Raises KubeError, and BackendError for a choice that the run does not offer."""
        kind = self.site.kind(self.ref)
        found = self.site.get(self.site.ref_path(self.ref))
        workload = found if found is not None and uid_of(found) == self.ref.uid else None
        known: dict[str, Json] = workload or {"metadata": {"name": self.ref.name, "uid": self.ref.uid}}
        own = key_of(known)
        selectors = kind.pod_selectors(known)
        if not selectors and all(own):
            selectors = (f"{LINEAGE}={own[0]},{JOB}={own[1]},{ATTEMPT}={own[2]}",)

        def keep(pod: dict[str, Json]) -> list[Source]:
            theirs = key_of(pod)
            mine = is_of(kind, known, pod) and not (all(own) and all(theirs) and own != theirs)
            return sources_of([pod], kind.index_label) if mine else []

        sources: dict[tuple[str, str], Source] = {}
        for selector in selectors:
            listed = self.site.client.list(object_path("v1", "pods", self.ref.namespace), {"labelSelector": selector}, keep)
            sources.update({source.key: source for pod in listed for source in pod})
        judged = kind.judge(workload) if workload else None
        spec = known.get("spec")
        return Look(
            tuple(self._chosen(sorted(sources.values(), key=lambda source: source.order), bool(kind.index_label))),
            judged is None or judged.phase in ENDED,
            "" if judged is None else line(judged.detail),
            any((number(spec, key) or 0) > 1 for key in ("completions", "parallelism")),
        )

    def reader(self, source: Source) -> Reader:
        """Of one of its containers, from where the options say."""
        return Reader(self.site.client, self.ref.namespace, source, self.options)

    def _chosen(self, sources: list[Source], indexed: bool) -> Iterable[Source]:
        """Raises BackendError for an index or a container that cannot be meant."""
        options = self.options
        if options.index is not None:
            if not any(source.index for source in sources) and (sources or not indexed):
                raise BackendError(f"the pods of {self.ref} have no index", "Leave --index out to see all of them.")
            sources = [source for source in sources if source.index == str(options.index)]
        if options.container:
            names = dict.fromkeys(source.container for source in sources)
            if names and options.container not in names:
                raise BackendError(
                    f"{self.ref} has no container {options.container[:80]!r}", f"Its containers are {', '.join(names)}.",
                )
            sources = [source for source in sources if source.container == options.container]
        return sources
