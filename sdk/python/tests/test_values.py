"""What needs no control plane."""

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Generator

import grpc
import pytest

import senren
from senren import (
    ApplyResult,
    Database,
    FieldViolation,
    Hold,
    InvalidRequest,
    NotConverged,
    Resource,
    ResourceChange,
    SenrenClient,
    SenrenError,
    StatusEvent,
    TimedOut,
)
from senren._channel import Certificates, open_channel, target
from senren._convert import database as to_message
from senren._wait import FAILED_GRACE, Goals
from senren.errors import from_rpc

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    "endpoint, expected",
    [
        ("localhost:7443", ("localhost:7443", False)),
        ("localhost", ("localhost:7443", False)),
        ("127.0.0.1:9", ("127.0.0.1:9", False)),
        ("[::1]:9", ("[::1]:9", False)),
        ("senren.example.com", ("senren.example.com:7443", True)),
        ("http://senren.example.com:7443/", ("senren.example.com:7443", False)),
        ("https://senren.example.com", ("senren.example.com:443", True)),
    ],
)
def test_an_endpoint_uses_tls_except_on_this_machine(endpoint: str, expected: tuple[str, bool]) -> None:
    assert target(endpoint) == expected


@pytest.mark.parametrize("endpoint", ["", "ftp://a", "localhost:99999", "localhost:0", "http://a/b"])
def test_a_wrong_endpoint_is_told_at_once(endpoint: str) -> None:
    with pytest.raises(ValueError, match="write host:port"):
        target(endpoint)


def test_certificates_ask_for_tls_and_never_go_unused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert target("localhost", certificates=True) == ("localhost:7443", True)
    with pytest.raises(ValueError, match="of no use"):
        target("http://localhost:7443", certificates=True)
    with pytest.raises(ValueError, match="come together"):
        open_channel("localhost", Certificates(chain=b"pem"))
    monkeypatch.setenv("SENREN_CA_CERT", str(tmp_path / "ca.pem"))
    with pytest.raises(FileNotFoundError):
        open_channel("localhost", Certificates())
    (tmp_path / "ca.pem").write_bytes(b"pem")
    assert Certificates().or_environment() == Certificates(root=b"pem")
    assert Certificates(root=b"other").or_environment() == Certificates(root=b"other")


def test_who_changes_things_is_told_or_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENREN_AUTHOR", raising=False)
    assert SenrenClient().author.count("@") == 1
    monkeypatch.setenv("SENREN_AUTHOR", "deploy")
    assert SenrenClient().author == "deploy"
    assert SenrenClient(author="x" * 200).author == "x" * 128


def test_the_site_is_told_or_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENREN_SITE", raising=False)
    assert SenrenClient().site is None
    monkeypatch.setenv("SENREN_SITE", "shop")
    assert (SenrenClient().site, SenrenClient(site="other").site) == ("shop", "other")


def test_a_closed_client_says_that_it_is() -> None:
    with SenrenClient() as client:
        pass
    with pytest.raises(SenrenError, match="the client is closed"):
        client.list_regions()
    with pytest.raises(SenrenError, match="the client is closed"):
        next(client.watch_status())


def test_a_plan_is_of_one_thing_and_a_list_is_no_text() -> None:
    client = SenrenClient()
    with pytest.raises(TypeError, match="either"):
        client.plan()
    with pytest.raises(TypeError, match="either"):
        client.plan([], rollback_to=1)
    with pytest.raises(TypeError, match="write a list"):
        client.get_status(names="cache")
    # At once, not with the first event.
    with pytest.raises(TypeError, match="write a list"):
        client.watch_status(names="cache")


def test_settings_are_keyword_arguments_or_a_spec() -> None:
    by_keyword = Database("a", "redis", ["aws:r"], memory_mb=64)
    assert by_keyword == Database("a", "redis", ["aws:r"], spec={"memory_mb": 64})
    assert Database("a", "x", ["aws:r"], spec={"name": "inner"}).spec == {"name": "inner"}
    with pytest.raises(TypeError, match="memory_mb"):
        Database("a", "redis", ["aws:r"], spec={"memory_mb": 1}, memory_mb=2)
    with pytest.raises(TypeError, match="list of region ids"):
        Database("a", "redis", "aws:r")


def test_big_integers_survive_and_what_is_no_json_is_refused() -> None:
    assert to_message(Database("a", "x", ["aws:r"], n=2**60)).spec_json == '{"n":1152921504606846976}'
    with pytest.raises(ValueError, match="database 'a'.* no JSON"):
        to_message(Database("a", "x", ["aws:r"], n=float("nan")))
    with pytest.raises(TypeError, match="database 'a'.* no JSON"):
        to_message(Database("a", "x", ["aws:r"], n=object()))


def test_what_is_no_text_is_told_where_it_is_written() -> None:
    with pytest.raises(TypeError, match="name: 5 is no text"):
        Database(5, "x", ["aws:r"])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="regions: None is no text"):
        Database("a", "x", [None])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="deletion_protection: 'no' is neither"):
        Database("a", "x", ["aws:r"], deletion_protection="no")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="list of Database"):
        to_message({"name": "a"})  # type: ignore[arg-type]


def test_a_problem_is_told_once() -> None:
    violation = FieldViolation("databases[0].spec/memory_mb", "must be at least 16, is -1")
    assert str(InvalidRequest(str(violation), [violation])).count("must be at least 16") == 1
    assert str(InvalidRequest("the request is invalid")) == "the request is invalid"


def change(action: str = "created", uid: str = "u") -> ResourceChange:
    return ResourceChange("aws:r", "a", "redis", uid, action, 2)  # type: ignore[arg-type]


HOLD = Hold("Replacement", "it would lose its data", 2)


def event(
    kind: str = "changed",
    uid: str = "u",
    generation: int = 2,
    phase: str = "Ready",
    hold: Hold | None = None,
    deleting: bool = False,
) -> StatusEvent:
    resource = Resource(
        site="default", region="aws:r", name="a", type="redis", uid=uid, generation=generation,
        observed_generation=generation, phase=phase, ready=phase == "Ready", reason="", message="", endpoints=(),
        conditions=(), details=None, observed_at=None, created_at=None, applied_at=None, ready_at=None, spec={},
        deletion_protection=False, deleting=deleting, hold=hold,
    )  # fmt: skip
    return StatusEvent(kind, 1, None if kind == "synced" else resource)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "action, events, settled, failed",
    [
        ("created", [], False, True),
        ("created", [event(phase="Creating"), event("synced")], False, True),
        ("created", [event()], True, False),
        ("updated", [event(generation=1), event("synced")], False, True),
        ("created", [event(phase="Failed")], False, True),
        ("created", [event(uid="other", generation=3)], True, True),
        ("created", [event("synced")], True, True),
        ("deleted", [event(phase="Deleting"), event("synced")], False, True),
        ("deleted", [event("synced")], True, False),
        ("deleted", [event(), event("synced"), event("removed")], True, False),
        ("replaced", [event(uid="old", deleting=True), event(phase="Pending"), event("synced")], False, True),
        ("replaced", [event(phase="Pending"), event("synced"), event(uid="old", deleting=True)], False, True),
        ("replaced", [event("synced"), event("removed", uid="old", deleting=True), event()], True, False),
        ("deleted", [event(), event("synced"), event(uid="other", generation=3)], False, True),
    ],
)
def test_waiting_ends_when_the_generation_is_ready_or_the_resource_gone(
    action: str, events: list[StatusEvent], settled: bool, failed: bool
) -> None:
    goals = Goals(ApplyResult("default", 2, (change(action),), ()))
    for each in events:
        goals.observe(each)
    assert (goals.settled(), goals.failed()) == (settled, failed)


def test_what_is_held_is_not_waited_for() -> None:
    goals = Goals(ApplyResult("default", 2, (change("updated"),), ()))
    goals.observe(event(hold=HOLD))
    assert goals.settled() and goals.held() and "it would lose its data" in goals.unfinished()
    deletion = replace(change("deleted"), hold=HOLD)
    goals = Goals(ApplyResult("default", 2, (deletion,), ()))
    assert not goals.settled()
    goals.observe(event(generation=1))
    assert goals.settled() and goals.held() and goals.missing()
    failing = replace(change(), name="b")
    goals = Goals(ApplyResult("default", 2, (deletion, failing), ()))
    assert not goals.settled() and not goals.held()


def test_what_failed_gets_a_while_and_is_not_asked_about_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    watches: list[float] = []

    def watch(site: str, *, timeout: float) -> Generator[StatusEvent, None, None]:
        watches.append(timeout)
        yield event(phase="Failed")
        yield event("synced")
        raise TimedOut("nothing more came")

    client = SenrenClient()
    monkeypatch.setattr(client, "watch_status", watch)
    gone = replace(change("deleted"), name="b")
    with pytest.raises(NotConverged, match="aws:r  a: Failed") as caught:
        client._wait(ApplyResult("default", 2, (change(), gone), ()), timeout=60)
    assert len(watches) == 2 and watches[1] == FAILED_GRACE
    assert [resource.name for resource in caught.value.resources] == ["a"]


def test_a_failed_call_is_told_with_what_may_help() -> None:
    class Failed:
        def __init__(self, code: grpc.StatusCode, metadata: tuple[tuple[str, bytes], ...] = ()) -> None:
            self.code, self.details, self.trailing_metadata = lambda: code, lambda: "why", lambda: metadata

    unavailable = Failed(grpc.StatusCode.UNAVAILABLE)
    assert "TLS was used" in str(from_rpc(unavailable, "a:1", tls=True))
    assert "TLS" not in str(from_rpc(unavailable, "a:1"))
    broken = Failed(grpc.StatusCode.INVALID_ARGUMENT, (("grpc-status-details-bin", b"\xff\xff"),))
    assert str(from_rpc(broken, "a:1")) == "why"


def test_an_apply_without_databases_needs_no_waiting() -> None:
    goals = Goals(ApplyResult("default", 1, (), ()))
    assert goals.settled() and not goals.failed()


def test_the_generated_code_is_that_of_the_protos(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHON": sys.executable}
    subprocess.run([ROOT / "scripts/generate-python", tmp_path], check=True, env=environment)
    generated = Path(senren.__file__).parent / "_proto"
    names = sorted(path.name for path in tmp_path.iterdir())
    _, differing, missing = filecmp.cmpfiles(tmp_path, generated, names, shallow=False)
    assert not differing and not missing, "run scripts/generate-python"


def test_types_check() -> None:
    pytest.importorskip("mypy")
    # The source, not what is installed: beside that, everything installed would pass for ours.
    command = [sys.executable, "-m", "mypy", "--cache-dir", os.devnull, "src/senren", "tests"]
    result = subprocess.run(command, cwd=ROOT / "sdk/python", capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
