"""What a local backend's block in jobform.yaml says, with its defaults."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from jobform.model.errors import BackendError
from jobform.model.units import parse_duration
from jobform.model.values import Json


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """max_parallel: jobs at once on this machine. gpus: devices that may be lent. kill_grace: seconds from TERM to KILL."""

    max_parallel: int
    gpus: tuple[int, ...]
    kill_grace: float

    @classmethod
    def of(cls, settings: Mapping[str, Json]) -> "LocalSettings":
        """From a block that the settings schema accepted. Raises BackendError for one that it would not have."""
        parallel, gpus, grace = settings.get("max_parallel"), settings.get("gpus", []), settings.get("kill_grace", "10s")
        if parallel is None:
            parallel = os.cpu_count() or 1
        try:
            if not isinstance(parallel, int) or not 1 <= parallel <= 4096:
                raise ValueError("max_parallel is a whole number from 1 to 4096")
            if not isinstance(gpus, list) or not all(isinstance(gpu, int) and gpu >= 0 for gpu in gpus):
                raise ValueError("gpus is a list of device numbers")
            seconds = parse_duration(str(grace))
        except ValueError as error:
            raise BackendError("the settings of the local backend are not usable", str(error)) from error
        return cls(parallel, tuple(gpu for gpu in gpus if isinstance(gpu, int)), seconds)
