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
class ResourceChange:
    """What an apply meant for one database in one region."""

    region: str
    name: str
    type: str
    uid: str
    action: Action
    #: The revision that last changed the resource.
    generation: int


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
