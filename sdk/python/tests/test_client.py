"""The client against a real control plane with real regions and real databases."""

from __future__ import annotations

import re
import socket
from datetime import datetime, timezone
from typing import Any

import pytest

from conftest import OTHER_REGION, REGION, REGIONS, ROOT, free_port
from senren import (
    Conflict,
    Database,
    Held,
    InvalidRequest,
    NotFound,
    Refused,
    Resource,
    SenrenClient,
    TimedOut,
    Unreachable,
)


README = ROOT / "sdk/python/README.md"


def database(**changes: Any) -> Database:
    return Database(**{"name": "global-features", "type": "redis", "regions": [REGION], "memory_mb": 64, **changes})


def ping(resource: Resource) -> bytes:
    assert resource.host and resource.port
    with socket.create_connection((resource.host, resource.port), timeout=5) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(64)


def test_the_readme_works_as_written(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 3
    monkeypatch.setenv("SENREN_ENDPOINT", endpoint)
    names: dict[str, Any] = {}
    first, *rest = [block.replace("localhost:7443", endpoint) for block in blocks]
    exec(first, names)
    with SenrenClient(endpoint) as client:
        # Thirty-six processes: they have their time before anything else wants it.
        clusters = client.apply_state(client.get_state().databases, wait=True, timeout=240).resources
        assert [(r.region, r.type, r.spec["memory_mb"]) for r in clusters] == [
            (region, "redis-cluster", 16384) for region in sorted(REGIONS)
        ]
        client.apply_state([], confirm_data_loss=True, wait=True, timeout=120)
        for block in rest:
            exec(block, names)
        client.apply_state([], "shop", confirm_data_loss=True, wait=True, timeout=60)


def test_wait_returns_databases_that_answer(client: SenrenClient) -> None:
    before = datetime.now(timezone.utc)
    result = client.apply_state([database()], wait=True, timeout=60)
    (resource,) = result.resources
    assert (resource.region, resource.phase, resource.ready) == (REGION, "Ready", True)
    assert resource.spec["memory_mb"] == 64
    assert resource.created_at and resource.ready_at and before <= resource.created_at <= resource.ready_at
    assert ping(resource) == b"+PONG\r\n"


def test_applying_the_same_again_changes_nothing(client: SenrenClient) -> None:
    first = client.apply_state([database()])
    again = client.apply_state([database()])
    assert [c.action for c in again.changes] == ["unchanged"]
    assert again.revision == first.revision


def test_a_request_id_makes_a_repetition_harmless(client: SenrenClient) -> None:
    first = client.apply_state([database()], request_id="deploy-1")
    assert client.apply_state([database()], request_id="deploy-1") == first
    with pytest.raises(Refused):
        client.apply_state([database(memory_mb=65)], request_id="deploy-1")


def test_an_unexpected_revision_is_a_conflict(client: SenrenClient) -> None:
    revision = client.apply_state([database()]).revision
    with pytest.raises(Conflict, match=str(revision)):
        client.apply_state([], expected_revision=revision - 1)
    assert client.get_status().resources[0].name == "global-features"


def test_a_protected_database_is_not_deleted(client: SenrenClient) -> None:
    client.apply_state([database(deletion_protection=True)])
    with pytest.raises(Refused, match="global-features"):
        client.apply_state([])
    client.apply_state([database()])


def test_every_problem_of_a_request_is_named_at_once(client: SenrenClient) -> None:
    with pytest.raises(InvalidRequest) as caught:
        client.apply_state(
            [
                database(name="Bad Name", memory_mb=-1, unheard_of=True),
                database(name="a", regions=["mars"]),
                database(name="b", replicas="two"),
            ]
        )
    fields = {violation.field for violation in caught.value.violations}
    assert fields == {
        "databases[0].name",
        "databases[0].spec/memory_mb",
        "databases[0].spec/unheard_of",
        "databases[1].regions[0]",
        "databases[2].spec/replicas",
    }
    assert "databases[0].name" in str(caught.value)


def test_a_type_that_no_region_has_is_refused_by_name(client: SenrenClient) -> None:
    with pytest.raises(InvalidRequest, match="oracle"):
        client.apply_state([database(type="oracle")])


def test_a_region_that_was_never_seen_is_a_warning_and_waiting_for_it_times_out(client: SenrenClient) -> None:
    result = client.apply_state([database(regions=["aws:nowhere-1"])])
    assert [w.code for w in result.warnings] == ["RegionNeverSeen"]
    with pytest.raises(TimedOut, match="global-features") as caught:
        client.apply_state([database(regions=["aws:nowhere-1"])], wait=True, timeout=0.5)
    assert [r.region for r in caught.value.resources] == ["aws:nowhere-1"]


def test_a_watch_begins_with_everything_and_goes_on_with_changes(client: SenrenClient) -> None:
    client.apply_state([database()], wait=True, timeout=60)
    events = client.watch_status(timeout=60)
    first, synced = next(events), next(events)
    assert first.kind == "changed" and first.resource and first.resource.name == "global-features"
    assert synced.kind == "synced" and synced.resource is None
    client.apply_state([], confirm_data_loss=True)
    assert any(event.kind == "removed" for event in events)
    events.close()


def test_a_status_can_be_narrowed(client: SenrenClient) -> None:
    client.apply_state([database(regions=[REGION, OTHER_REGION]), database(name="other")])
    assert len(client.get_status().resources) == 3
    assert {r.region for r in client.get_status(regions=[OTHER_REGION]).resources} == {OTHER_REGION}
    assert {r.name for r in client.get_status(names=["other"]).resources} == {"other"}


def test_regions_say_what_they_can_run(client: SenrenClient) -> None:
    regions = {region.id: region for region in client.list_regions()}
    region = regions[REGION]
    assert region.phase == "Connected" and region.last_heartbeat_at
    assert region.published_version == region.version
    (redis,) = [plugin for plugin in region.plugins if plugin.type == "redis"]
    assert len(redis.digest) == 64
    assert "memory_mb" in redis.spec_schema["properties"]


def test_a_wrong_endpoint_says_what_was_tried() -> None:
    address = f"127.0.0.1:{free_port()}"
    with SenrenClient(address) as client, pytest.raises(Unreachable, match=address):
        client.list_regions()


def test_a_plan_says_what_would_happen_and_changes_nothing(client: SenrenClient) -> None:
    revision = client.apply_state([database()]).revision
    plan = client.plan([database(memory_mb=96), database(name="other")])
    assert plan.revision == revision and not plan.is_empty
    update, create = sorted(plan.changes, key=lambda planned: planned.change.name)
    assert (update.change.action, create.change.action) == ("updated", "created")
    (field,) = update.fields
    assert (field.path, field.before, field.after) == ("/memory_mb", 64, 96)
    assert client.plan([database()]).is_empty
    assert client.get_status().revision == revision
    # Exactly what was planned is applied, or nothing.
    client.apply_state([database(memory_mb=128)])
    with pytest.raises(Conflict):
        client.apply_state([database(memory_mb=96)], expected_revision=plan.revision)


def test_history_is_kept_and_can_be_gone_back_to(client: SenrenClient) -> None:
    first = client.apply_state([database()])
    client.apply_state([database(memory_mb=96)])
    assert client.plan(rollback_to=first.revision).changes[0].fields[0].after == 64
    back = client.rollback(first.revision, wait=True, timeout=60)
    assert [c.action for c in back.changes] == ["updated"]
    assert back.resources[0].spec["memory_mb"] == 64
    latest, before, _ = client.history()
    assert (latest.kind, latest.rollback_to, latest.author) == ("Rollback", first.revision, "tester")
    assert (before.kind, before.rollback_to) == ("Apply", None)
    assert latest.applied_at and before.applied_at and before.applied_at < latest.applied_at
    assert [e.revision for e in client.history(limit=1, before_revision=latest.revision)] == [before.revision]


def test_what_a_site_declares_is_read_as_it_was_written(client: SenrenClient) -> None:
    assert client.get_state().revision == 0
    client.apply_state([database()])
    declared = client.apply_state([database(memory_mb=96, regions=[OTHER_REGION, REGION])])
    state = client.get_state()
    assert state.databases == (database(memory_mb=96, regions=[OTHER_REGION, REGION]),)
    assert (state.revision, state.author) == (declared.revision, "tester") and state.applied_at
    assert client.get_state(revision=declared.revision - 1).databases == (database(),)
    with pytest.raises(NotFound):
        client.get_state(revision=declared.revision + 1)
    assert [c.action for c in client.apply_state(state.databases).changes] == ["unchanged", "unchanged"]


def test_a_deletion_of_everything_is_held_until_confirmed(client: SenrenClient) -> None:
    client.apply_state([database()], wait=True, timeout=60)
    with pytest.raises(Held, match="global-features") as caught:
        client.apply_state([], wait=True, timeout=60)
    (resource,) = caught.value.resources
    assert resource.ready and resource.hold and resource.hold.kind == "Deletion"
    with pytest.raises(NotFound):
        client.confirm_held(["other"])
    revision = client.get_status().revision
    with pytest.raises(Conflict):
        client.confirm_held(expected_revision=revision - 1)
    confirmed = client.confirm_held(
        ["global-features"], regions=[REGION], expected_revision=revision, wait=True, timeout=60
    )
    assert [c.action for c in confirmed.changes] == ["deleted"]
    assert client.get_status().resources == ()


def test_a_replacement_is_waited_for_beside_what_it_replaces(client: SenrenClient) -> None:
    client.apply_state([database()], wait=True, timeout=60)
    other = Database("global-features", "redis-cluster", [REGION], memory_mb=192)
    with pytest.raises(Held, match="global-features"):
        client.apply_state([other], wait=True, timeout=60)
    confirmed = client.confirm_held(wait=True, timeout=120)
    assert [c.action for c in confirmed.changes] == ["replaced"]
    assert [(r.type, r.ready) for r in confirmed.resources] == [("redis-cluster", True)]


def test_what_a_connected_region_deletes_is_not_forgotten_by_force(client: SenrenClient) -> None:
    client.apply_state([database()])
    with pytest.raises(Refused):
        client.force_delete(REGION)
