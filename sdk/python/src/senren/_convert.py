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
        changes=tuple(map(change, response.changes)),
        warnings=tuple(map(_warning, response.warnings)),
    )


def confirmed(response: Any) -> types.ApplyResult:
    return types.ApplyResult(response.site, response.revision, tuple(map(change, response.changes)), ())


def change(message: Any) -> types.ResourceChange:
    return types.ResourceChange(
        region=message.region,
        name=message.name,
        type=message.type,
        uid=message.uid,
        action=_ACTIONS.get(message.action, "unknown"),
        generation=message.generation,
        hold=_hold(message),
    )


def plan(response: Any) -> types.Plan:
    return types.Plan(
        site=response.site,
        revision=response.revision,
        changes=tuple(map(_planned_change, response.changes)),
        warnings=tuple(map(_warning, response.warnings)),
    )


def _planned_change(message: Any) -> types.PlannedChange:
    return types.PlannedChange(
        change=change(message.change),
        fields=tuple(
            types.FieldChange(f.path, _json(f.before_json), _json(f.after_json), f.effect) for f in message.fields
        ),
        disruptive=message.disruptive,
        data_loss=message.data_loss,
        summary=message.summary,
    )


def site_state(response: Any) -> types.SiteState:
    return types.SiteState(
        site=response.site,
        revision=response.revision,
        databases=tuple(map(_declared, response.databases)),
        author=response.author,
        applied_at=_time(response, "applied_at"),
    )


def _declared(message: Any) -> types.Database:
    return types.Database(
        name=message.name,
        type=message.type,
        regions=message.regions,
        deletion_protection=message.deletion_protection,
        spec=_json(message.spec_json) or {},
    )


def history_entry(message: Any) -> types.HistoryEntry:
    return types.HistoryEntry(
        revision=message.revision,
        applied_at=_time(message, "applied_at"),
        author=message.author,
        request_id=message.request_id,
        kind=message.kind,
        rollback_to=message.rollback_to if message.HasField("rollback_to") else None,
        changes=tuple(map(change, message.changes)),
    )


def _warning(message: Any) -> types.Warning:
    return types.Warning(message.code, message.region, message.name, message.message)


def _hold(message: Any) -> types.Hold | None:
    if not message.HasField("hold"):
        return None
    return types.Hold(message.hold.kind, message.hold.message, message.hold.revision)


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
        hold=_hold(status),
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
            types.Plugin(p.type, p.kind, p.plugin, p.version, p.digest, _json(p.spec_schema_json), p.notice)
            for p in message.plugins
        ),
        resources=message.resources,
        ready_resources=message.ready_resources,
        problems=tuple(message.problems),
        plane_version=message.plane_version,
        cluster_uid=message.cluster_uid,
        published_version=message.published_version,
        behind_since=_time(message, "behind_since"),
    )


def _json(text: str) -> Any:
    return json.loads(text) if text else None


def _time(message: Any, field: str) -> datetime | None:
    if not message.HasField(field):
        return None
    value: datetime = getattr(message, field).ToDatetime(tzinfo=timezone.utc)
    return value
