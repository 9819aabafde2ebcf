"""`jobform` on backends that answer in this process: the shipped command line, file store and fsync, and no service behind them.

usage: instant.py COMMAND...

`reference` is the reference backend in its thread form. `local` has the real type's schemas and ends every job at once, so that a
project of 10,000 local jobs gets the state that it would have after 10,000 processes.
"""

import sys
import time
from dataclasses import dataclass, replace

from jobform.backends.local.backend import TYPE
from jobform.cli import main
from jobform.model.values import Json
from jobform.plugins import Registry
from jobform.protocols import BackendType
from jobform.run.runtime import Runtime
from jobform.testing.reference import ReferenceType
from jobform.testing.world import World


@dataclass(frozen=True, slots=True)
class InstantLocal(ReferenceType):
    """The thread form under the local type's name and schemas."""

    name: str = "local"

    def spec_schema(self) -> dict[str, Json]:
        return TYPE.spec_schema()

    def settings_schema(self) -> dict[str, Json]:
        return TYPE.settings_schema()


def runtime() -> Runtime:
    backends: dict[str, BackendType] = {
        "reference": ReferenceType(world=World(time.time)), "local": InstantLocal(world=World(time.time)),
    }
    return replace(Runtime.system(), registry=Registry(backends=backends))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], runtime=runtime()))
