"""The seams: what a backend, a store and a view must offer, and the values that cross them.

Plug-ins register an object under the entry point groups `jobform.backends`, `jobform.stores` and `jobform.views`; what comes with
jobform registers the same way. Vendor exceptions never cross a seam: `BackendError` and `StateError` do.
"""

from jobform.protocols.arranging import Arranged, Arranging, Claim, Complaint, Extensible, Spot, Written
from jobform.protocols.backend import (
    UNKNOWN_TEXT,
    Absent,
    Actual,
    Backend,
    BackendType,
    Collecting,
    Comparing,
    Difference,
    Forecast,
    Found,
    Gone,
    Intended,
    Mark,
    Place,
    Preflight,
    Preparing,
    ReadError,
    Ref,
    Releasing,
    Scope,
    Submission,
    Unknown,
)
from jobform.protocols.claims import Importing, Lister, Sighting
from jobform.protocols.logs import Blanking, LogOptions, LogSource
from jobform.protocols.store import (
    LockInfo,
    Store,
    Stored,
    StoreType,
)
from jobform.protocols.view import (
    Screen,
    View,
)
from jobform.protocols.world import (
    Clock,
    Effect,
    no_effect,
    timestamp,
)

__all__ = [
    "UNKNOWN_TEXT",
    "Absent",
    "Actual",
    "Arranged",
    "Arranging",
    "Backend",
    "BackendType",
    "Blanking",
    "Claim",
    "Clock",
    "Collecting",
    "Comparing",
    "Complaint",
    "Difference",
    "Effect",
    "Extensible",
    "Forecast",
    "Found",
    "Gone",
    "Importing",
    "Intended",
    "Lister",
    "LockInfo",
    "LogOptions",
    "LogSource",
    "Mark",
    "Place",
    "Preflight",
    "Preparing",
    "ReadError",
    "Ref",
    "Releasing",
    "Scope",
    "Screen",
    "Sighting",
    "Spot",
    "Store",
    "StoreType",
    "Stored",
    "Submission",
    "Unknown",
    "View",
    "Written",
    "no_effect",
    "timestamp",
]
