"""What a local backend's block in jobform.yaml says, with its defaults."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from jobform.model.errors import BackendError
from jobform.model.units import parse_duration
from jobform.model.values import Json

AUTO = "auto"
"""Lend every GPU that the machine has: the default."""


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """max_parallel: jobs at once on this machine. gpus: devices that may be lent, None for all that the machine has.

    kill_grace: seconds from TERM to KILL.
    """

    max_parallel: int
    gpus: tuple[int, ...] | None
    kill_grace: float

    @classmethod
    def of(cls, settings: Mapping[str, Json]) -> "LocalSettings":
        """From a block that the settings schema accepted. Raises BackendError for one that it would not have."""
        parallel, gpus, grace = settings.get("max_parallel"), settings.get("gpus", AUTO), settings.get("kill_grace", "10s")
        if parallel is None:
            parallel = os.cpu_count() or 1
        try:
            if not isinstance(parallel, int) or not 1 <= parallel <= 4096:
                raise ValueError("max_parallel is a whole number from 1 to 4096")
            if gpus != AUTO and not (isinstance(gpus, list) and all(isinstance(gpu, int) and gpu >= 0 for gpu in gpus)):
                raise ValueError("gpus is auto, or a list of device numbers")
            seconds = parse_duration(str(grace))
        except ValueError as error:
            raise BackendError("the settings of the local backend are not usable", str(error)) from error
        listed = tuple(gpu for gpu in gpus if isinstance(gpu, int)) if isinstance(gpus, list) else None
        return cls(parallel, listed, seconds)
