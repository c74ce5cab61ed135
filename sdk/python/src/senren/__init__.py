"""Declare databases once, for any set of regions in any clouds.

    from senren import SenrenClient, Database

    SenrenClient(endpoint="localhost:7443").apply_state(
        databases=[
            Database(
                name="global-features",
                type="redis",
                memory_mb=64,
                regions=["aws:us-east-1", "gcp:us-central1"],
            )
        ]
    )
"""

from .client import SenrenClient
from .errors import (
    Conflict,
    FieldViolation,
    Held,
    InvalidRequest,
    NotConverged,
    NotFound,
    Refused,
    SenrenError,
    TimedOut,
    Unreachable,
)
from .types import (
    Action,
    ApplyResult,
    Condition,
    Database,
    Endpoint,
    FieldChange,
    HistoryEntry,
    Hold,
    Plan,
    PlannedChange,
    Plugin,
    Region,
    Resource,
    ResourceChange,
    SiteState,
    SiteStatus,
    StatusEvent,
    Warning,
)

__all__ = [
    "Action",
    "ApplyResult",
    "Condition",
    "Conflict",
    "Database",
    "Endpoint",
    "FieldChange",
    "FieldViolation",
    "Held",
    "HistoryEntry",
    "Hold",
    "InvalidRequest",
    "NotConverged",
    "NotFound",
    "Plan",
    "PlannedChange",
    "Plugin",
    "Refused",
    "Region",
    "Resource",
    "ResourceChange",
    "SenrenClient",
    "SenrenError",
    "SiteState",
    "SiteStatus",
    "StatusEvent",
    "TimedOut",
    "Unreachable",
    "Warning",
]
