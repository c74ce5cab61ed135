"""Between the messages of the API and our own types. JSON text becomes values, times become datetimes in UTC."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

from . import types
from ._proto import control_plane_pb2 as pb

_ACTIONS: dict[int, types.Action] = {
    pb.ResourceChange.ACTION_UNCHANGED: "unchanged",
    pb.ResourceChange.ACTION_CREATED: "created",
    pb.ResourceChange.ACTION_UPDATED: "updated",
    pb.ResourceChange.ACTION_DELETED: "deleted",
    pb.ResourceChange.ACTION_REPLACED: "replaced",
}


def database(value: types.Database) -> Any:
    if not isinstance(value, types.Database):
        raise TypeError(f"databases must be a list of Database, found {value!r}")
    try:
        # NaN and the infinities are no JSON.
        spec_json = json.dumps(value.spec, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise type(error)(f"database {value.name!r}: its settings are no JSON: {error}") from error
    return pb.Database(
        name=value.name,
        type=value.type,
        spec_json=spec_json,
        regions=value.regions,
        deletion_protection=value.deletion_protection,
    )


def apply_result(response: Any) -> types.ApplyResult:
    return types.ApplyResult(
        site=response.site,
        revision=response.revision,
        changes=tuple(
            types.ResourceChange(
                region=change.region,
                name=change.name,
                type=change.type,
                uid=change.uid,
                action=_ACTIONS.get(change.action, "unknown"),
                generation=change.generation,
            )
            for change in response.changes
        ),
        warnings=tuple(types.Warning(w.code, w.region, w.name, w.message) for w in response.warnings),
    )


def site_status(response: Any) -> types.SiteStatus:
    return types.SiteStatus(response.site, response.revision, tuple(map(resource, response.resources)))


def status_event(response: Any) -> types.StatusEvent:
    return types.StatusEvent(
        kind=(
            "changed"
            if response.kind == pb.WatchStatusResponse.KIND_CHANGED
            else "removed"
            if response.kind == pb.WatchStatusResponse.KIND_REMOVED
            else "synced"
            if response.kind == pb.WatchStatusResponse.KIND_SYNCED
            else "unknown"
        ),
        revision=response.revision,
        resource=resource(response.resource) if response.HasField("resource") else None,
    )


def resource(status: Any) -> types.Resource:
    return types.Resource(
        site=status.site,
        region=status.region,
        name=status.name,
        type=status.type,
        uid=status.uid,
        generation=status.generation,
        observed_generation=status.observed_generation,
        phase=status.phase,
        ready=status.ready,
        reason=status.reason,
        message=status.message,
        endpoints=tuple(types.Endpoint(e.name, e.host, e.port) for e in status.endpoints),
        conditions=tuple(types.Condition(c.type, c.status, c.reason, c.message) for c in status.conditions),
        details=_json(status.details_json),
        observed_at=_time(status, "observed_at"),
        created_at=_time(status, "created_at"),
        applied_at=_time(status, "applied_at"),
        ready_at=_time(status, "ready_at"),
        spec=_json(status.spec_json) or {},
        deletion_protection=status.deletion_protection,
        deleting=status.deleting,
    )


def region(message: Any) -> types.Region:
    return types.Region(
        id=message.id,
        phase=message.phase,
        version=message.version,
        applied_version=message.applied_version,
        in_sync=message.in_sync,
        last_heartbeat_at=_time(message, "last_heartbeat_at"),
        plugins=tuple(
            types.Plugin(p.type, p.kind, p.plugin, p.version, p.digest, _json(p.spec_schema_json))
            for p in message.plugins
        ),
        resources=message.resources,
        ready_resources=message.ready_resources,
        problems=tuple(message.problems),
        plane_version=message.plane_version,
        cluster_uid=message.cluster_uid,
    )


def _json(text: str) -> Any:
    return json.loads(text) if text else None


def _time(message: Any, field: str) -> datetime | None:
    if not message.HasField(field):
        return None
    value: datetime = getattr(message, field).ToDatetime(tzinfo=timezone.utc)
    return value
