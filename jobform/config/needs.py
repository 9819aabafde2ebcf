"""Which addresses a job's needs select."""

from collections.abc import Collection, Iterable, Mapping

from jobform.config.findings import Findings
from jobform.config.problem import Problem, Report
from jobform.model.address import Selector, format_address, scalar_text
from jobform.model.diagnostic import Range, Related
from jobform.model.graph import cycle
from jobform.model.job import Job, Need, When
from jobform.model.suggest import suggest
from jobform.model.values import Json, Path, is_deferred


class Directory:
    """All addresses of a project, found by selector. names: of all jobs, also of those that are wrong and have no instances."""

    def __init__(self, instances: Mapping[str, list[tuple[str, Mapping[str, Json]]]], names: Collection[str]) -> None:
        """instances: by job name, addresses with their axes in address order."""
        self._instances, self.names = instances, frozenset(names)
        self._by_name = {name: tuple(address for address, _ in listed) for name, listed in instances.items()}
        self._by_axis: dict[str, dict[tuple[str, str], list[tuple[str, Mapping[str, Json]]]]] = {}
        self._found: dict[str, tuple[str, ...] | str] = {}

    def of(self, name: str) -> tuple[str, ...]:
        """The addresses of one job."""
        return self._by_name.get(name, ())

    def select(self, text: str) -> tuple[str, ...]:
        """The addresses that a selector selects. Raises ValueError with a plain sentence if it is not one."""
        if text in self._by_name:
            return self._by_name[text]
        found = self._found.get(text)
        if found is None:
            try:
                found = self._selected(Selector.parse(text))
            except ValueError as error:
                found = str(error)
            self._found[text] = found
        if isinstance(found, str):
            raise ValueError(found)
        return found

    def _selected(self, selector: Selector) -> tuple[str, ...]:
        names = [selector.name]
        if selector.wild:
            names = [name for name in sorted(self._by_name) if selector.matches(name, selector.axes)]
        if not selector.axes:
            return tuple(address for name in names for address in self.of(name))
        return tuple(
            address for name in names for address, axes in self._candidates(name, selector) if selector.matches(name, axes)
        )

    def _candidates(self, name: str, selector: Selector) -> list[tuple[str, Mapping[str, Json]]]:
        """The instances that have the rarest of the selector's values: an index keeps N needs over N instances linear."""
        if name not in self._instances:
            return []
        index = self._by_axis.get(name)
        if index is None:
            index = self._by_axis[name] = {}
            for address, axes in self._instances[name]:
                for key, value in axes.items():
                    index.setdefault((key, scalar_text(value)), []).append((address, axes))
        return min((index.get((key, scalar_text(value)), []) for key, value in selector.axes.items()), key=len)


def resolve_needs(
    raw: Json, own: str, outputs: Iterable[str], directory: Directory, report: Report,
) -> tuple[Need, ...]:
    """The needs of one instance. raw: its rendered `needs`. own: its address. outputs: jobs whose outputs its spec reads.

    Reading a job's outputs implies needing all of it.
    """
    needs: dict[tuple[str, When], Need] = {}
    for index, item in enumerate(raw if isinstance(raw, list) else []):
        path: Path = ("needs", index)
        when = When.SUCCEEDED
        text: Json = item
        if isinstance(item, dict) and not is_deferred(item):
            text, path = item.get("job"), (*path, "job")
            when = When(str(item.get("when", when)))
        if isinstance(text, str):
            addresses = _addresses(text, path, own, directory, report)
            needs.setdefault((text, when), Need(text, when, addresses))
        elif not is_deferred(text):  # which was reported as a template that cannot stand here
            report(Problem(path, "wrong_type", "a need must be a job's name or a selector"))
    covered = {address for need in needs.values() for address in need.addresses}
    for name in sorted(outputs):
        addresses = directory.of(name)
        if own in addresses:
            report(Problem(("spec",), "self_need", f"the job reads its own outputs: jobs.{name}", at_key=True))
        elif not covered.issuperset(addresses):
            needs.setdefault((name, When.SUCCEEDED), Need(name, When.SUCCEEDED, addresses))
    return tuple(needs.values())


def check_cycle(jobs: Mapping[str, Job], findings: Findings) -> None:
    """Note a circle of needs, with the place of every edge."""
    found = cycle({address: [needed for need in job.policy.needs for needed in need.addresses] for address, job in jobs.items()})
    if not found:
        return
    edges = list(zip(found, [*found[1:], found[0]], strict=True))
    places = [(f"{address} needs {needed}", _edge(jobs[address], needed)) for address, needed in edges]
    findings.error(
        "cycle", f"these jobs need each other in a circle: {' -> '.join([*found, found[0]])}", places[0][1], address=found[0],
        hint="remove one of the needs", related=[Related(message, place) for message, place in places if place],
    )


def _edge(job: Job, needed: str) -> Range | None:
    for index, need in enumerate(job.policy.needs):
        if needed in need.addresses:
            return job.locate(("needs", index)) or job.locate(("needs",)) or job.locate(())
    return job.locate(())


def _addresses(text: str, path: Path, own: str, directory: Directory, report: Report) -> tuple[str, ...]:
    try:
        found = directory.select(text)
    except ValueError as error:
        report(Problem(path, "bad_selector", str(error)))
        return ()
    if own in found:
        if "*" not in text.partition("[")[0]:
            report(Problem(path, "self_need", "the job needs itself", hint="remove it, or name another job"))
        return tuple(address for address in found if address != own)
    if not found:
        _nothing(text, path, directory, report)
    return found


def _nothing(text: str, path: Path, directory: Directory, report: Report) -> None:
    selector = Selector.parse(text)
    if selector.name in directory.names:
        listed = directory.of(selector.name)
        if not listed:
            return  # the job is declared, and what is wrong with it was said already
        detail = f"instances: {', '.join(listed[:5])}{', ...' if len(listed) > 5 else ''}"
        wanted = format_address(selector.name, selector.axes)
        report(Problem(path, "unknown_job", f"no instance of {selector.name} is {wanted}", detail))
    elif selector.wild:
        report(Problem(path, "unknown_job", f"no job matches {text[:80]!r}"))
    else:
        near = suggest(selector.name, directory.names)
        report(Problem(path, "unknown_job", f"there is no job {selector.name!r}", hint=f"did you mean {near}?" if near else ""))
