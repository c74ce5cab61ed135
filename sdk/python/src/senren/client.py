"""The client: one connection to a control plane, for as many threads as you like."""

from __future__ import annotations

import getpass
import os
import socket
import time
import uuid
from contextlib import closing, contextmanager
from types import TracebackType
from typing import Any, Callable, Generator, Iterable, Iterator, Sequence

import grpc

from . import _convert
from ._channel import DEFAULT_PORT, Certificates, open_channel
from ._proto import control_plane_pb2 as pb
from ._proto import control_plane_pb2_grpc as pb_grpc
from ._wait import Goals
from .errors import Held, NotConverged, SenrenError, TimedOut, Unreachable, from_rpc
from .types import (
    ApplyResult,
    Database,
    HistoryEntry,
    Plan,
    Region,
    ResourceChange,
    SiteState,
    SiteStatus,
    StatusEvent,
)

#: Longer ones are cut.
_MAX_AUTHOR = 128


class SenrenClient:
    """Speaks to a control plane.

    ``endpoint`` is ``host:port``, ``http://host:port`` or ``https://host:port``; without a scheme, TLS is used
    except for this machine itself. Without an endpoint, ``SENREN_ENDPOINT`` names it, or it is ``localhost:7443``.

    ``site`` is the one that is meant where a call names none; without it, ``SENREN_SITE`` names it, or it is
    ``default``.

    ``root_certificates`` (PEM) replaces the roots that a TLS server is checked against; ``certificate_chain`` and
    ``private_key`` (PEM) say who we are, where it asks. Without any of them, ``SENREN_CA_CERT``, ``SENREN_CERT``
    and ``SENREN_KEY`` name files. ``author`` is who changes things, for the history: without it ``SENREN_AUTHOR``,
    or ``user@host``. ``timeout`` is how many seconds one answer may take.

    Nothing is sent before the first call. Threads may share a client; a process that forks makes
    one in each child, since gRPC stands a fork only while no call is under way.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        site: str | None = None,
        root_certificates: bytes | None = None,
        certificate_chain: bytes | None = None,
        private_key: bytes | None = None,
        author: str | None = None,
        timeout: float = 30.0,
    ) -> None:
        self.endpoint = endpoint or os.environ.get("SENREN_ENDPOINT") or f"localhost:{DEFAULT_PORT}"
        self.site = site or os.environ.get("SENREN_SITE") or None
        self.author = (author or os.environ.get("SENREN_AUTHOR") or _user_at_host())[:_MAX_AUTHOR]
        self._timeout = timeout
        self._closed = False
        self._channel, self._tls = open_channel(
            self.endpoint, Certificates(root_certificates, certificate_chain, private_key)
        )
        self._stub: Any = pb_grpc.ControlPlaneStub(self._channel)

    def close(self) -> None:
        """Ends the connection, and every watch on it."""
        self._closed = True
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

    # What a site should have.

    def apply_state(
        self,
        databases: Iterable[Database],
        site: str | None = None,
        *,
        request_id: str | None = None,
        expected_revision: int | None = None,
        confirm_data_loss: bool = False,
        wait: bool = False,
        timeout: float = 300.0,
    ) -> ApplyResult:
        """Declares everything that the site should have, in all regions.

        What the site had and ``databases`` doesn't name is deleted. All or nothing. ``request_id`` makes sending
        the same content again harmless; without one, each call gets its own. With ``expected_revision``, applies
        only if the site is at that revision (0: nothing was ever applied), else raises :class:`Conflict`.

        Deletions that are too many at once and replacements that lose data are held until :meth:`confirm_held`;
        with ``confirm_data_loss``, nothing is.

        With ``wait``, returns when everything is ready and what was deleted is gone, and raises :class:`TimedOut`
        after ``timeout`` seconds, :class:`NotConverged` when something failed, :class:`Held` when all that is
        missing is held.
        """
        request = pb.ApplyStateRequest(
            site=site or self.site or "",
            request_id=request_id or str(uuid.uuid4()),
            expected_revision=expected_revision,
            databases=[_convert.database(database) for database in databases],
            author=self.author,
            confirm_data_loss=confirm_data_loss,
        )
        result = _convert.apply_result(self._call(self._stub.ApplyState, request))
        return self._wait(result, timeout) if wait else result

    def plan(
        self,
        databases: Iterable[Database] | None = None,
        site: str | None = None,
        *,
        rollback_to: int | None = None,
        confirm_data_loss: bool = False,
    ) -> Plan:
        """What :meth:`apply_state` of ``databases``, or :meth:`rollback` to a revision, would do now. Changes nothing.

        Pass the plan's ``revision`` on as ``expected_revision``, and what is planned is what happens.
        """
        if (databases is None) == (rollback_to is None):
            raise TypeError("plan either databases or a rollback")
        request = pb.PlanStateRequest(
            site=site or self.site or "",
            databases=[_convert.database(database) for database in databases or ()],
            rollback_to=rollback_to,
            confirm_data_loss=confirm_data_loss,
        )
        return _convert.plan(self._call(self._stub.PlanState, request))

    def get_state(self, site: str | None = None, *, revision: int | None = None) -> SiteState:
        """What the site declares, or declared at ``revision``, as it was written."""
        request = pb.GetStateRequest(site=site or self.site or "", revision=revision)
        return _convert.site_state(self._call(self._stub.GetState, request))

    def history(
        self,
        site: str | None = None,
        *,
        limit: int = 50,
        before_revision: int | None = None,
    ) -> tuple[HistoryEntry, ...]:
        """Who changed what, and when; the latest first. ``before_revision`` is the last one of the page before."""
        request = pb.ListHistoryRequest(site=site or self.site or "", limit=limit, before_revision=before_revision)
        response = self._call(self._stub.ListHistory, request)
        return tuple(map(_convert.history_entry, response.entries))

    def rollback(
        self,
        revision: int,
        site: str | None = None,
        *,
        request_id: str | None = None,
        expected_revision: int | None = None,
        confirm_data_loss: bool = False,
        wait: bool = False,
        timeout: float = 300.0,
    ) -> ApplyResult:
        """Declares again what the site declared at ``revision``: an apply, in every other respect."""
        request = pb.RollbackStateRequest(
            site=site or self.site or "",
            revision=revision,
            request_id=request_id or str(uuid.uuid4()),
            expected_revision=expected_revision,
            author=self.author,
            confirm_data_loss=confirm_data_loss,
        )
        result = _convert.apply_result(self._call(self._stub.RollbackState, request))
        return self._wait(result, timeout) if wait else result

    def confirm_held(
        self,
        names: Sequence[str] = (),
        site: str | None = None,
        *,
        regions: Sequence[str] = (),
        expected_revision: int | None = None,
        wait: bool = False,
        timeout: float = 300.0,
    ) -> ApplyResult:
        """Lets happen what is held, and its data be lost. Without ``names`` and ``regions``: all of it.

        With ``expected_revision`` only if the site is at that revision: what is held is still what you have looked at.
        """
        request = pb.ConfirmHeldRequest(
            site=site or self.site or "",
            names=_list(names),
            regions=_list(regions),
            author=self.author,
            expected_revision=expected_revision,
        )
        result = _convert.confirmed(self._call(self._stub.ConfirmHeld, request))
        return self._wait(result, timeout) if wait else result

    def force_delete(
        self, region: str, names: Sequence[str] = (), site: str | None = None
    ) -> tuple[ResourceChange, ...]:
        """Forgets what is being deleted in a region that is gone for good. Without ``names``: all of it."""
        request = pb.ForceDeleteRequest(
            site=site or self.site or "", region=region, names=_list(names), author=self.author
        )
        response = self._call(self._stub.ForceDelete, request)
        return tuple(map(_convert.change, response.changes))

    # What is there.

    def get_status(
        self,
        site: str | None = None,
        *,
        regions: Sequence[str] = (),
        names: Sequence[str] = (),
    ) -> SiteStatus:
        """What is desired and what was last observed. Without ``regions`` and ``names``: of all."""
        request = pb.GetStatusRequest(site=site or self.site or "", regions=_list(regions), names=_list(names))
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
        request = pb.WatchStatusRequest(site=site or self.site or "", regions=_list(regions), names=_list(names))
        return self._events(request, timeout)

    def _events(self, request: Any, timeout: float | None) -> Generator[StatusEvent, None, None]:
        with self._errors():
            call = self._stub.WatchStatus(request, timeout=timeout)
            try:
                for event in call:
                    yield _convert.status_event(event)
            finally:
                call.cancel()

    def list_regions(self) -> tuple[Region, ...]:
        """Every region that was ever named by an apply or sent a heartbeat."""
        response = self._call(self._stub.ListRegions, pb.ListRegionsRequest())
        return tuple(map(_convert.region, response.regions))

    def _call(self, method: Callable[..., Any], request: Any) -> Any:
        with self._errors():
            return method(request, timeout=self._timeout)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """What grpc raises, as ours."""
        try:
            yield
        except grpc.RpcError as error:
            raise from_rpc(error, self.endpoint, self._tls) from error
        except ValueError as error:
            # How grpc tells it.
            if not self._closed:
                raise
            raise SenrenError("the client is closed") from error

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
        if goals.held():
            raise Held(f"not as declared until confirmed:{goals.unfinished()}", goals.missing())
        if goals.failed():
            raise NotConverged(f"not as declared:{goals.unfinished()}", goals.missing())
        return goals.result()

    def _observe(self, site: str, goals: Goals, timeout: float) -> None:
        # Before the restart, after which what is gone would count as on its way again.
        patience = goals.patience(timeout)
        goals.restart()
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


def _list(texts: Sequence[str]) -> Sequence[str]:
    """A text is a sequence of texts too, but never a list of names."""
    if isinstance(texts, str):
        raise TypeError(f"write a list, [{texts!r}], not one text")
    return texts


def _user_at_host() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):
        # A user that neither the environment nor the machine names, as in a container.
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"
