"""Everything that can go wrong, told apart by what a caller can do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from .types import Resource


@dataclass(frozen=True)
class FieldViolation:
    """One thing that is wrong with a request."""

    #: ``databases[0].spec/memory_mb``: a field path, and below ``spec`` a JSON Pointer.
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class SenrenError(Exception):
    """What all of them are; itself: the control plane failed."""


class InvalidRequest(SenrenError):
    """The request is wrong, in every way that ``violations`` lists. Nothing was changed."""

    def __init__(self, message: str, violations: Sequence[FieldViolation] = ()) -> None:
        # The message is a summary of the violations: where those are at hand it would only repeat them.
        told = [f"the request is wrong, {len(violations)} problem(s):", *map(str, violations)]
        super().__init__("\n  ".join(told) if violations else message)
        self.violations = tuple(violations)


class Refused(SenrenError):
    """Understood and refused; nothing was changed. ``violations`` names what stands in the way."""

    def __init__(self, message: str, violations: Sequence[FieldViolation] = ()) -> None:
        super().__init__("\n  ".join([message, *map(str, violations)]))
        self.violations = tuple(violations)


class Conflict(Refused):
    """The site is not at the expected revision: read its status, merge, apply again."""


class NotFound(Refused):
    """There is no such revision, or nothing of what was named."""


class Unreachable(SenrenError):
    """There is no control plane at the endpoint, or it can't serve now."""


class TimedOut(SenrenError):
    """It took longer than allowed. ``resources``: what was not ready yet."""

    def __init__(self, message: str, resources: Sequence[Resource] = ()) -> None:
        super().__init__(message)
        self.resources = tuple(resources)


class NotConverged(SenrenError):
    """Applied, but not everything came to be as declared. ``resources``: what did not."""

    def __init__(self, message: str, resources: Sequence[Resource] = ()) -> None:
        super().__init__(message)
        self.resources = tuple(resources)


class Held(NotConverged):
    """Everything is as declared, except for what is held until :meth:`SenrenClient.confirm_held`."""


def from_rpc(error: Any, endpoint: str, tls: bool = False) -> SenrenError:
    """The error that a failed call means."""
    code = error.code()
    message = error.details() or code.name
    if code == grpc.StatusCode.INVALID_ARGUMENT:
        return InvalidRequest(message, _violations(error))
    if code == grpc.StatusCode.ABORTED:
        return Conflict(message, _violations(error))
    if code == grpc.StatusCode.NOT_FOUND:
        return NotFound(message)
    if code in (
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
    ):
        return Refused(message, _violations(error))
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return TimedOut(f"{endpoint} did not answer in time: {message}")
    if code == grpc.StatusCode.UNIMPLEMENTED:
        return Unreachable(f"what answers at {endpoint} is no senren control plane, or an older one: {message}")
    if code == grpc.StatusCode.UNAVAILABLE:
        hint = "; TLS was used, write http://host:port for a control plane without it" if tls else ""
        return Unreachable(f"cannot reach a control plane at {endpoint}: {message}{hint}")
    if code == grpc.StatusCode.CANCELLED:
        return SenrenError(f"the call was cancelled: {message}")
    return SenrenError(f"{endpoint} says {code.name}: {message}")


def _violations(error: Any) -> list[FieldViolation]:
    violations = []
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        try:
            details = status_pb2.Status.FromString(value).details
        except DecodeError:
            # A proxy's, or cut by one: the message says what there is to say.
            continue
        for detail in details:
            bad, precondition = error_details_pb2.BadRequest(), error_details_pb2.PreconditionFailure()
            if detail.Unpack(bad):
                violations += [FieldViolation(v.field, v.description) for v in bad.field_violations]
            elif detail.Unpack(precondition):
                violations += [FieldViolation(v.subject, v.description) for v in precondition.violations]
    return violations
