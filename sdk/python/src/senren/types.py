"""What goes in and what comes out, as plain values: nothing here knows how it travels."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Iterable, Literal, Mapping

Action = Literal["created", "updated", "replaced", "deleted", "unchanged", "unknown"]


class Database:
    """A database, declared once; it becomes a resource in each of its regions.

    Keyword arguments besides the named ones are settings of its type (``memory_mb=64``); a setting that is called
    like one of the named ones goes into ``spec``.
    """

    def __init__(
        self,
        name: str,
        type: str,
        regions: Iterable[str],
        deletion_protection: bool = False,
        *,
        spec: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        if isinstance(regions, str):
            raise TypeError(f"regions must be a list of region ids, e.g. [{regions!r}], not one text")
        regions = tuple(regions)
        for field, value in [("name", name), ("type", type), *(("regions", region) for region in regions)]:
            if not isinstance(value, str):
                raise TypeError(f"{field}: {value!r} is no text")
        if not isinstance(deletion_protection, bool):
            raise TypeError(f"deletion_protection: {deletion_protection!r} is neither True nor False")
        twice = sorted(set(spec or {}) & set(settings))
        if twice:
            raise TypeError(f"given both in spec and as keyword: {', '.join(twice)}")
        self.name = name
        self.type = type
        self.regions = regions
        self.deletion_protection = deletion_protection
        self.spec: dict[str, Any] = {**(spec or {}), **settings}

    def _key(self) -> tuple[object, ...]:
        return (self.name, self.type, self.regions, self.deletion_protection, self.spec)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Database) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # its spec can change

    def __repr__(self) -> str:
        return (
            f"Database(name={self.name!r}, type={self.type!r}, regions={list(self.regions)!r}, "
            f"deletion_protection={self.deletion_protection!r}, spec={self.spec!r})"
        )


@dataclass(frozen=True)
class Hold:
    """A change that waits for :meth:`SenrenClient.confirm_held`; the resource runs on as it was."""

    #: ``Deletion``, ``Replacement``.
    kind: str
    #: Why, what it would lose, and how to confirm it.
    message: str
    #: Of the apply that asked for it.
    revision: int


@dataclass(frozen=True)
class ResourceChange:
    """What an apply meant for one database in one region."""

    region: str
    name: str
    type: str
    uid: str
    action: Action
    #: The revision that last changed the resource.
    generation: int
    #: Set where it does not happen until it is confirmed.
    hold: Hold | None = None


@dataclass(frozen=True)
class Warning:
    """Something that was accepted but will not work as it is now."""

    #: ``RegionNeverSeen``, ``RegionSilent``, ``NoPlugin``.
    code: str
    region: str
    #: Empty where it is about the region.
    name: str
    message: str


@dataclass(frozen=True)
class Endpoint:
    """Where a client connects."""

    #: ``primary``, ``replica``, …
    name: str
    host: str
    port: int


@dataclass(frozen=True)
class Condition:
    """As a Kubernetes condition."""

    type: str
    status: str
    reason: str
    message: str


@dataclass(frozen=True)
class Resource:
    """One database in one region: what is desired and what was last observed."""

    site: str
    region: str
    name: str
    type: str
    uid: str
    #: The revision that last changed it.
    generation: int
    #: The generation that what follows is about; 0 while the region has not reported.
    observed_generation: int
    phase: str
    #: A client could use the database now, and it is as desired.
    ready: bool
    reason: str
    message: str
    #: The first one is the main one.
    endpoints: tuple[Endpoint, ...]
    conditions: tuple[Condition, ...]
    details: Any
    observed_at: datetime | None
    created_at: datetime | None
    applied_at: datetime | None
    ready_at: datetime | None
    spec: dict[str, Any]
    deletion_protection: bool
    #: An apply took it away; it is listed until its region says that it is gone.
    deleting: bool
    #: Set while a change of it waits to be confirmed.
    hold: Hold | None = None

    @property
    def host(self) -> str | None:
        """Host of the main endpoint."""
        return self.endpoints[0].host if self.endpoints else None

    @property
    def port(self) -> int | None:
        """Port of the main endpoint."""
        return self.endpoints[0].port if self.endpoints else None


@dataclass(frozen=True)
class ApplyResult:
    """The answer to an apply."""

    site: str
    #: The site's revision after it.
    revision: int
    changes: tuple[ResourceChange, ...]
    warnings: tuple[Warning, ...]
    #: With ``wait=True``: the resources as they were when all was ready.
    resources: tuple[Resource, ...] = ()


@dataclass(frozen=True)
class FieldChange:
    """A field of a spec that would differ."""

    #: JSON Pointer into the spec.
    path: str
    #: ``None`` where there is none.
    before: Any
    after: Any
    #: ``in-place``, ``rolling-restart``, ``rebalance``, ``recreate``, ``forbidden``; empty where it is not known.
    effect: str


@dataclass(frozen=True)
class PlannedChange:
    """What would become of one database in one region, and what that would mean for what runs."""

    #: Its uid is empty where there is no such resource yet.
    change: ResourceChange
    fields: tuple[FieldChange, ...]
    #: Clients of the database will notice.
    disruptive: bool
    #: Data that it holds now will be lost.
    data_loss: bool
    #: One line for a person.
    summary: str


@dataclass(frozen=True)
class Plan:
    """What an apply would do now."""

    site: str
    #: What it starts from: as ``expected_revision`` of an apply, exactly this plan is applied.
    revision: int
    changes: tuple[PlannedChange, ...]
    warnings: tuple[Warning, ...]

    @property
    def is_empty(self) -> bool:
        """Nothing would change."""
        return all(planned.change.action == "unchanged" for planned in self.changes)


@dataclass(frozen=True)
class SiteState:
    """What a site declares, as it was written."""

    site: str
    #: 0: nothing was ever applied.
    revision: int
    databases: tuple[Database, ...]
    author: str
    applied_at: datetime | None


@dataclass(frozen=True)
class HistoryEntry:
    """One revision of a site."""

    revision: int
    applied_at: datetime | None
    author: str
    request_id: str
    #: ``Apply``, ``Rollback``, ``Confirm``, ``ForceDelete``.
    kind: str
    #: Of a rollback: the revision it went back to.
    rollback_to: int | None
    #: Without what is unchanged.
    changes: tuple[ResourceChange, ...]


@dataclass(frozen=True)
class SiteStatus:
    """The resources of a site."""

    site: str
    #: 0: nothing was ever applied.
    revision: int
    resources: tuple[Resource, ...]


@dataclass(frozen=True)
class StatusEvent:
    """One event of a watch."""

    #: ``synced``: all there was at the start has been seen; it has no resource.
    kind: Literal["changed", "removed", "synced", "unknown"]
    revision: int
    resource: Resource | None


@dataclass(frozen=True)
class Plugin:
    """A resource type that a region serves."""

    type: str
    kind: str
    plugin: str
    version: str
    digest: str
    spec_schema: Any
    #: In words, where something about it is not as it should be.
    notice: str = ""


@dataclass(frozen=True)
class Region:
    """A region that was named by an apply or sent a heartbeat."""

    id: str
    #: ``NeverSeen``, ``Connected``, ``Silent``.
    phase: str
    version: int
    applied_version: int
    in_sync: bool
    last_heartbeat_at: datetime | None
    plugins: tuple[Plugin, ...]
    resources: int
    ready_resources: int
    problems: tuple[str, ...]
    plane_version: str
    cluster_uid: str
    #: What was last published to it.
    published_version: int = 0
    #: Since when it should be at a version that it does not confirm; ``None``: it is not behind.
    behind_since: datetime | None = None
