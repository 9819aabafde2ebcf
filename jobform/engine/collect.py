"""What runs that have succeeded leave behind, fetched before their success counts."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from jobform.model.errors import BackendError
from jobform.model.state import Phase
from jobform.model.values import Json
from jobform.protocols import Actual, Backend, Collecting, Gone, ReadError, Ref

Answer = Actual | Gone | ReadError

_THREADS = 8


def collected(
    backend: Backend, answers: Mapping[Ref, Answer], spec: Callable[[Ref], Mapping[str, Json]],
) -> Mapping[Ref, Answer]:
    """The answers, with those of runs that have succeeded completed by what they left. spec: the one in force, by reference.

    What may be had later leaves its run unread, so that it is not recorded yet; what cannot be had is a warning.
    """
    due = {ref: answer for ref, answer in answers.items() if isinstance(answer, Actual) and answer.phase is Phase.SUCCEEDED}
    if not due or not isinstance(backend, Collecting):
        return answers
    collecting = backend

    def fetch(ref: Ref) -> Answer:
        try:
            return collecting.collect(ref, spec(ref), due[ref])
        except BackendError as error:
            said = f"what the run left could not be fetched: {error.summary}"
            if error.retryable:
                return ReadError(said, error.detail)
            return replace(due[ref], warnings=(*due[ref].warnings, f"{said}: {error.detail}" if error.detail else said))

    with ThreadPoolExecutor(min(_THREADS, len(due)), thread_name_prefix="collect") as pool:
        return {**answers, **dict(zip(due, pool.map(fetch, due), strict=True))}
