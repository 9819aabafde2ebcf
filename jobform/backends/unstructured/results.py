"""What a job that has succeeded leaves: the elements of each file, as JSON, and the files that failed."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from posixpath import normpath

from jobform.backends.unstructured.wire import FailedFile, file_name, named
from jobform.clients.text import short
from jobform.model.errors import BackendError
from jobform.model.files import FileError
from jobform.model.outputs import safe_name, write_result
from jobform.model.values import Json

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Left:
    """outputs: `{"files": [{"file_id", "input", "path"}], "failed_files": [{"document", "error"}], "directory"}`; paths are in
    the project, and only where they were written. told: of the files that failed. missing: what was wanted and cannot be had.
    """

    outputs: dict[str, Json]
    told: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shelf:
    """What the service has of one job. download: the bytes of a file's output by its id; raises BackendError."""

    ids: Sequence[str]
    failed: Sequence[FailedFile]
    download: Callable[[str], bytes]


def fetch(shelf: Shelf, inputs: Sequence[str], directory: str, project: Path) -> Left:
    """Tell what there is, and write it to a directory of the project if one is given.

    Each file is written wholly or not at all, under a name that this side has chosen. Raises BackendError where trying again
    later may help; a file that cannot be had is told in `missing`, and the others are written.
    """
    failed = {item.document for item in shelf.failed}
    files: list[Json] = []
    missing: list[str] = []
    own = {normpath(path) for path in inputs}
    for run, path in named(shelf.ids, inputs):
        entry: dict[str, Json] = {"file_id": short(run, 500)}
        entry |= {"input": path} if path else {}
        if run in failed or (path and {path, file_name(path)} & failed):
            continue
        if directory:
            name = result_name(path or run)
            try:
                if place_of(directory, name) in own:
                    raise FileError("replaces_input", f"{name!r} is an input of the job")
                write_result(project, directory, name, _elements(shelf.download(run)))
                entry["path"] = f"{directory.rstrip('/')}/{name}"
            except FileError as error:
                missing.append(f"the elements of {short(path or run, 100)} were not written: {error.summary}")
            except BackendError as error:
                if error.retryable:
                    raise
                missing.append(f"the elements of {short(path or run, 100)} cannot be had: {error.summary}")
        files.append(entry)
    if directory and inputs and not shelf.ids:
        missing.append("the service does not tell which files the job had, so nothing of them can be had")
    outputs: dict[str, Json] = {
        "files": files, "failed_files": [{"document": item.document, "error": item.error} for item in shelf.failed],
    }
    outputs |= {"directory": directory.rstrip("/")} if directory else {}
    return Left(outputs, tuple(_told(shelf.failed)), tuple(missing))


def _told(failed: Sequence[FailedFile]) -> list[str]:
    if not failed:
        return []
    shown = "; ".join(f"{short(item.document, 100)}: {short(item.error, 200)}" for item in failed[:_SHOWN])
    more = f"; and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
    return [f"it succeeded with {len(failed)} failed file{'s' if len(failed) > 1 else ''}: {shown}{more}"]


def _elements(data: bytes) -> bytes:
    """The bytes of an output, which are JSON. Raises BackendError: a page of a proxy is no output, and may be gone soon."""
    try:
        json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BackendError("the output that the service gives is not JSON", str(error)[:200], retryable=True) from error
    return data


def result_name(path: str) -> str:
    """What the elements of a file are called, by its path in the project or by its id."""
    return safe_name(file_name(path), ".json")


def place_of(directory: str, name: str) -> str:
    """The path in the project of a result: equal for one file, however its directory is written."""
    return normpath(f"{directory}/{name}")


def results_of(spec: Mapping[str, Json]) -> dict[str, str]:
    """The paths in the project that a spec's results are written to, each with the file that it is made from."""
    directory = directory_of(spec)
    return {place_of(directory, result_name(path)): path for path in inputs_of(spec)} if directory else {}


def shared_places(specs: Mapping[str, Mapping[str, Json]]) -> dict[str, list[str]]:
    """By address, a warning where another job writes to the same file; one is enough for jobs that share a directory."""
    writers: dict[str, list[str]] = {}
    for address, spec in specs.items():
        for place in results_of(spec):
            writers.setdefault(place, []).append(address)
    told: dict[str, list[str]] = {}
    for place, addresses in writers.items():
        for address in addresses if len(addresses) > 1 else ():
            other = addresses[0] if addresses[0] != address else addresses[1]
            more = f" and {len(addresses) - 2} more" if len(addresses) > 2 else ""
            told.setdefault(address, [f"{place} is written by {other}{more} too, and what is written last stays"])
    return told


def directory_of(spec: Mapping[str, Json]) -> str:
    """Where a spec wants its results, "" for nowhere."""
    given = spec.get("download_to")
    return given if isinstance(given, str) else ""


def inputs_of(spec: Mapping[str, Json]) -> list[str]:
    """The paths of the files that a spec sends."""
    given = spec.get("input_files")
    return [str(path) for path in given] if isinstance(given, list) else []
