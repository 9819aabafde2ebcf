"""Companions of runs that go on, as they are now: what somebody else changed in them, told as a change of the workload is.

They are read when a comparison asks, at most once for each kind between two reads of the workloads: whoever only waits for an end
does not ask. A kind that this account may not read is not compared.
"""

from collections.abc import Collection, Iterator, Mapping

from jobform.backends.kubernetes.composed import Composed, Manifest
from jobform.backends.kubernetes.differences import Found, applied, found_in, printable
from jobform.backends.kubernetes.identity import companions_of
from jobform.backends.kubernetes.managed import Owners, owners, shown
from jobform.backends.kubernetes.names import LINEAGE
from jobform.backends.kubernetes.refs import Companion, parsed
from jobform.backends.kubernetes.shapes import at, text
from jobform.backends.kubernetes.site import Site, is_unserved, uid_of
from jobform.clients.kube.errors import KubeError
from jobform.model.values import Json, Path, dotted
from jobform.protocols import Difference, Ref

_FEW = 2
"""So many companions of a kind are asked for by name; more are listed."""

_Key = tuple[str, str, str, str]


class Beside:
    """What stands beside workloads. Safe to use from several threads: at worst something is asked twice."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._look = _Look(site, ())

    def anew(self, refs: Collection[Ref]) -> None:
        """These are looked at now: what was known of their companions is old."""
        self._look = _Look(self._site, refs)

    def differences(self, composed: Composed, workload: Manifest) -> Iterator[Difference]:
        """What is not as it was applied in the companions that a workload names; nothing of one that goes, since they go with it.

        Raises KubeError.
        """
        if at(workload, "metadata", "deletionTimestamp"):
            return
        look, namespace = self._look, text(workload, "metadata", "namespace") or self._site.namespace
        recorded = {(companion.kind, companion.name): companion for companion in companions_of(workload)}
        ours = bool(owners(at(workload, "metadata", "managedFields")).ours)
        for index, manifest in enumerate(composed.companions):
            companion = recorded.get((text(manifest, "kind"), text(manifest, "metadata", "name")))
            if companion is None:
                continue
            try:
                live = look.present(companion, namespace, text(manifest, "metadata", "labels", LINEAGE))
            except KubeError as error:
                if error.status == 403:
                    continue
                raise
            if live is None:
                yield _told(composed, index, (), f"{companion.kind} {companion.name} is gone", present=False)
            else:
                yield from _compared(composed, index, live, ours=ours)


class _Look:
    """One look at everything: each kind is listed at most once, and no more of an object is kept than is needed to compare it."""

    def __init__(self, site: Site, refs: Collection[Ref]) -> None:
        self._site = site
        self._refs = refs
        self._wanted: dict[_Key, set[str]] | None = None
        self._listed: dict[_Key, Mapping[str, Manifest]] = {}
        self._denied: dict[_Key, KubeError] = {}

    def present(self, companion: Companion, namespace: str, lineage: str) -> Manifest | None:
        """The object of that uid, None when it is gone. Raises KubeError."""
        key = (companion.api, companion.kind, namespace, lineage)
        wanted = self._uids().get(key, ())
        if denied := self._denied.get(key):
            raise denied
        try:
            if companion.uid in wanted and len(wanted) > _FEW:
                if key not in self._listed:
                    self._listed[key] = self._list(key, wanted)
                if companion.uid in self._listed[key]:
                    return self._listed[key][companion.uid]
            live = self._site.get(self._site.path(companion.api, companion.kind, namespace, companion.name))
        except KubeError as error:
            if is_unserved(error):
                return None
            self._denied[key] = error
            raise
        return live if live is not None and uid_of(live) == companion.uid else None

    def _uids(self) -> dict[_Key, set[str]]:
        if self._wanted is None:
            wanted: dict[_Key, set[str]] = {}
            for job in parsed(self._refs):
                for each in job.companions:
                    wanted.setdefault((each.api, each.kind, job.namespace, job.lineage), set()).add(each.uid)
            self._wanted = wanted
        return self._wanted

    def _list(self, key: _Key, wanted: Collection[str]) -> Mapping[str, Manifest]:
        api, kind, namespace, lineage = key
        found: dict[str, Manifest] = {}

        def keep(obj: dict[str, Json]) -> None:
            uid = uid_of(obj)
            if uid in wanted:
                found[uid] = obj if owners(at(obj, "metadata", "managedFields")).others else {"metadata": obj.get("metadata")}

        self._site.client.list(self._site.path(api, kind, namespace), {"labelSelector": f"{LINEAGE}={lineage}"}, keep)
        return found


def _compared(composed: Composed, index: int, live: Manifest, *, ours: bool) -> Iterator[Difference]:
    """ours: whether jobform owns anything of the run; else each field counts by its value, as of a run that is taken over."""
    known = owners(at(live, "metadata", "managedFields"))
    if not ours:
        known = Owners({}, known.others)
    want = applied(composed.companions[index])
    for found, by in found_in(want, live, known):
        name = printable(by[0].manager) if by else ""
        yield _told(composed, index, shown(found.steps), _value(composed, index, found), present=found.present, by=name)


def _told(composed: Composed, index: int, place: Path, value: Json, *, present: bool, by: str = "") -> Difference:
    """A field of the companion as one of the spec. What jobform makes itself has no value that a spec could have: what is told is
    what has become of the companion.
    """
    path = composed.companion_path(index, place) or place
    if composed.verbatim:
        return Difference(path, value if present else None, present, by, settable=bool(place))
    obj = composed.companions[index]
    what = f"{text(obj, 'kind')} {text(obj, 'metadata', 'name')}"
    return Difference(path, f"{what}: {dotted(place)} is another" if place else value, by=by)


def _value(composed: Composed, index: int, found: Found) -> Json:
    """What stands there; never what a Secret holds."""
    if text(composed.companions[index], "kind") == "Secret" and found.steps[:1] != ("metadata",):
        return None
    return found.value
