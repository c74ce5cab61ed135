"""The client: one connection to a control plane, for as many threads as you like."""

from __future__ import annotations

import ipaddress
import json
import os
import time
import uuid
from contextlib import closing
from types import TracebackType
from typing import Any, Callable, Generator, Iterable, Sequence
from urllib.parse import urlsplit

import grpc

from . import _convert
from ._proto import control_plane_pb2 as pb
from ._proto import control_plane_pb2_grpc as pb_grpc
from ._wait import Goals
from .errors import NotConverged, TimedOut, Unreachable, from_rpc
from .types import ApplyResult, Database, Region, SiteStatus, StatusEvent

DEFAULT_PORT = 7443

# An apply carries a request id, so that sending it again is harmless; the other calls only read.
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "senren.v1.ControlPlane"}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


class SenrenClient:
    """Speaks to a control plane.

    ``endpoint`` is ``host:port``, ``http://host:port`` or ``https://host:port``; without a scheme, TLS is used
    except for this machine itself. Without an endpoint, ``SENREN_ENDPOINT`` names it, or it is ``localhost:7443``.
    ``root_certificates`` (PEM) replaces the roots that a TLS server is checked against. ``timeout`` is how many
    seconds one answer may take.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        root_certificates: bytes | None = None,
        timeout: float = 30.0,
    ) -> None:
        endpoint = endpoint or os.environ.get("SENREN_ENDPOINT") or f"localhost:{DEFAULT_PORT}"
        target, tls = _target(endpoint)
        self.endpoint = endpoint
        self._timeout = timeout
        options: list[tuple[str, str | int]] = [
            ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
            ("grpc.keepalive_time_ms", 20_000),
            ("grpc.max_receive_message_length", 64 * 1024 * 1024),
        ]
        if _is_local(urlsplit(f"//{target}").hostname or ""):
            # No proxy leads to this machine.
            options.append(("grpc.enable_http_proxy", 0))
        if tls:
            credentials = grpc.ssl_channel_credentials(root_certificates)
            self._channel = grpc.secure_channel(target, credentials, options)
        else:
            self._channel = grpc.insecure_channel(target, options)
        self._stub: Any = pb_grpc.ControlPlaneStub(self._channel)

    def close(self) -> None:
        """Ends the connection, and every watch on it."""
        self._channel.close()

    def __enter__(self) -> SenrenClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def apply_state(
        self,
        databases: Iterable[Database],
        site: str | None = None,
        *,
        request_id: str | None = None,
        expected_revision: int | None = None,
        wait: bool = False,
        timeout: float = 300.0,
    ) -> ApplyResult:
        """Declares everything that the site should have, in all regions.

        What the site had and ``databases`` doesn't name is deleted. All or nothing. ``request_id`` makes sending
        the same content again harmless; without one, each call gets its own. With ``expected_revision``, applies
        only if the site is at that revision (0: nothing was ever applied), else raises :class:`Conflict`. With
        ``wait``, returns when everything is ready and what was deleted is gone, and raises :class:`TimedOut` after
        ``timeout`` seconds, :class:`NotConverged` when something failed.
        """
        request = pb.ApplyStateRequest(
            site=site or "",
            request_id=request_id or str(uuid.uuid4()),
            expected_revision=expected_revision,
            databases=[_convert.database(database) for database in databases],
        )
        result = _convert.apply_result(self._call(self._stub.ApplyState, request))
        return self._wait(result, timeout) if wait else result

    def get_status(
        self,
        site: str | None = None,
        *,
        regions: Sequence[str] = (),
        names: Sequence[str] = (),
    ) -> SiteStatus:
        """What is desired and what was last observed. Without ``regions`` and ``names``: of all."""
        request = pb.GetStatusRequest(site=site or "", regions=regions, names=names)
        return _convert.site_status(self._call(self._stub.GetStatus, request))

    def watch_status(
        self,
        site: str | None = None,
        *,
        regions: Sequence[str] = (),
        names: Sequence[str] = (),
        timeout: float | None = None,
    ) -> Generator[StatusEvent, None, None]:
        """First one ``changed`` event per resource, then ``synced``, then every change as it comes.

        Goes on until you stop iterating, ``timeout`` seconds are over (:class:`TimedOut`), or the connection is
        lost (:class:`Unreachable`): watch again then, what you see is complete again.
        """
        request = pb.WatchStatusRequest(site=site or "", regions=regions, names=names)
        call = self._stub.WatchStatus(request, timeout=timeout)
        try:
            for event in call:
                yield _convert.status_event(event)
        except grpc.RpcError as error:
            raise from_rpc(error, self.endpoint) from error
        finally:
            call.cancel()

    def list_regions(self) -> tuple[Region, ...]:
        """Every region that was ever named by an apply or sent a heartbeat."""
        response = self._call(self._stub.ListRegions, pb.ListRegionsRequest())
        return tuple(map(_convert.region, response.regions))

    def _call(self, method: Callable[..., Any], request: Any) -> Any:
        try:
            return method(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise from_rpc(error, self.endpoint) from error

    def _wait(self, result: ApplyResult, timeout: float) -> ApplyResult:
        deadline = time.monotonic() + timeout
        goals = Goals(result)
        while not goals.settled():
            left = deadline - time.monotonic()
            try:
                if left <= 0:
                    raise TimedOut(f"not ready after {timeout:g} s:{goals.unfinished()}", goals.missing())
                self._observe(result.site, goals, left)
            except TimedOut as error:
                message = f"not ready after {timeout:g} s:{goals.unfinished()}"
                raise TimedOut(message, goals.missing()) from error
            except Unreachable:
                # A control plane that restarts is no failure of what it manages.
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.5)
        if goals.failed():
            raise NotConverged(f"not as declared:{goals.unfinished()}", goals.missing())
        return goals.result()

    def _observe(self, site: str, goals: Goals, timeout: float) -> None:
        goals.restart()
        patience = goals.patience(timeout)
        # Generators clean up when closed, not when forgotten.
        with closing(self.watch_status(site, timeout=patience)) as events:
            try:
                for event in events:
                    goals.observe(event)
                    # Once only failures are left they get a while to pass; the watch is renewed with that limit.
                    if goals.settled() or goals.patience(timeout) < patience:
                        return
            except TimedOut:
                if patience >= timeout:
                    raise
                goals.give_up()


def _target(endpoint: str) -> tuple[str, bool]:
    """What gRPC connects to, and whether with TLS."""
    form = "write host:port, http://host:port or https://host:port, e.g. localhost:7443"
    parts = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{endpoint!r}: its port is no number from 1 to 65535; {form}") from error
    host = parts.hostname
    if port == 0 or not host or parts.scheme not in ("", "http", "https") or parts.path.strip("/"):
        raise ValueError(f"{endpoint!r} is no endpoint; {form}")
    tls = parts.scheme == "https" or (parts.scheme == "" and not _is_local(host))
    if port is None:
        port = DEFAULT_PORT if parts.scheme == "" else 443 if tls else 80
    return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}"), tls


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
