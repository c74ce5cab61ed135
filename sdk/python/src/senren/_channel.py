"""Where a control plane is, and the connection to it."""

from __future__ import annotations

import ipaddress
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc

DEFAULT_PORT = 7443

_SERVICE = "senren.v1.ControlPlane"

# An apply and a rollback carry a request id, so that sending them again is harmless; the others only read. A
# confirmation and a forced deletion are sent once.
_REPEATABLE = (
    "ApplyState",
    "PlanState",
    "GetState",
    "ListHistory",
    "RollbackState",
    "GetStatus",
    "WatchStatus",
    "ListRegions",
)

_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": _SERVICE, "method": method} for method in _REPEATABLE],
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


@dataclass(frozen=True)
class Certificates:
    """What TLS needs, as PEM; what is not given is of this machine, or not there."""

    root: bytes | None = None
    chain: bytes | None = None
    key: bytes | None = None

    def or_environment(self) -> Certificates:
        """Where nothing is given: what SENREN_CA_CERT, SENREN_CERT and SENREN_KEY name, as for the command line."""
        if self.given():
            return self
        found = Certificates(_file("SENREN_CA_CERT"), _file("SENREN_CERT"), _file("SENREN_KEY"))
        found.check()
        return found

    def given(self) -> bool:
        return self != Certificates()

    def check(self) -> None:
        if (self.chain is None) != (self.key is None):
            raise ValueError("a certificate and its private key come together")


def open_channel(endpoint: str, certificates: Certificates) -> tuple[Any, bool]:
    """A channel to ``endpoint``, and whether it has TLS. Certificates ask for that: they never go unused."""
    certificates.check()
    certificates = certificates.or_environment()
    address, tls = target(endpoint, certificates.given())
    options: list[tuple[str, str | int]] = [
        ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ]
    if _is_local(urlsplit(f"//{address}").hostname or ""):
        # No proxy leads to this machine.
        options.append(("grpc.enable_http_proxy", 0))
    if not tls:
        return grpc.insecure_channel(address, options), False
    credentials = grpc.ssl_channel_credentials(certificates.root, certificates.key, certificates.chain)
    return grpc.secure_channel(address, credentials, options), True


def target(endpoint: str, certificates: bool = False) -> tuple[str, bool]:
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
    if parts.scheme == "http" and certificates:
        raise ValueError(f"certificates are of no use at {endpoint!r}: write https://")
    tls = parts.scheme == "https" or (parts.scheme == "" and (certificates or not _is_local(host)))
    if port is None:
        port = DEFAULT_PORT if parts.scheme == "" else 443 if tls else 80
    return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}"), tls


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _file(variable: str) -> bytes | None:
    name = os.environ.get(variable)
    return Path(name).read_bytes() if name else None
