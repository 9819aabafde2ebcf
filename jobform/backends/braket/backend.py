"""Amazon Braket hybrid jobs as a backend: the entry point, and what is more than calls."""

from collections.abc import Collection, Iterator, Mapping

from jobform.backends.braket.body import NO_ROLE, NO_ROLE_HINT
from jobform.backends.braket.logs import Logs
from jobform.backends.braket.service import Braket
from jobform.backends.remote import Promise, RemoteBackend, RemoteType, id_of
from jobform.model.state import Op
from jobform.protocols import Forecast, Intended, LogOptions, Place, Ref

_SETTLE = 300.0


class BraketBackend(RemoteBackend):
    """Hybrid jobs, with their logs."""

    def __init__(self, service: Braket, place: Place) -> None:
        super().__init__(service, Promise(_SETTLE), place)
        self._braket = service
        self._logs = Logs(service, place.clock)

    def preflight(self, intended: Collection[Intended], parallelism: int) -> Mapping[str, Forecast]:
        """What is known without asking: a job without a role is refused."""
        del parallelism
        return {
            each.submission.address: Forecast("refused", path=(), summary=NO_ROLE, hint=NO_ROLE_HINT)
            for each in intended
            if each.op is Op.SUBMIT and self._braket.role is None and "role_arn" not in each.submission.spec
        }

    def logs(self, ref: Ref, options: LogOptions) -> Iterator[bytes]:
        return self._logs.logs(id_of(ref), options)

    def kept(self, ref: Ref, limit: int) -> bytes:
        return self._logs.kept(id_of(ref), limit)


TYPE = RemoteType("braket", lambda settings, place: BraketBackend(Braket(settings, place), place))
