"""Starts what the tests talk to: `senren dev`, as a user would, on a free port and a directory of its own.

SENREN_BIN names the binary; PLUGIN_DIR the plugins, if they are not beside it.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Iterator

import pytest

from senren import SenrenClient

ROOT = Path(__file__).resolve().parents[3]
REGION = "aws:us-east-1"
OTHER_REGION = "gcp:us-central1"
#: Of the README's example.
REGIONS = (REGION, "aws:eu-west-1", OTHER_REGION, "gcp:europe-west4", "azure:eastus", "azure:westeurope")


def _binary() -> str:
    named = os.environ.get("SENREN_BIN")
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    binary = named or shutil.which("senren", path=f"{target / 'debug'}:{target / 'release'}")
    if not binary:
        pytest.exit("no senren binary: build it, or name it with SENREN_BIN", returncode=1)
    return binary


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """Where a control plane with six regions answers; all have been heard of."""
    # Not pytest's own directory: only its owner may enter that, and root's PostgreSQL runs as another user.
    data = tempfile.mkdtemp(prefix="senren-python-")
    state = Path(data, "empty.yaml")
    state.write_text("databases: []\n")
    address = f"127.0.0.1:{free_port()}"
    command = [_binary(), "dev", str(state), "--data-dir", f"{data}/dev", "--listen", address]
    for region in REGIONS:
        command += ["--region", region]
    with open(f"{data}/output", "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_for_regions(process, address, Path(data, "output"))
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        finally:
            shutil.rmtree(data, ignore_errors=True)


def _wait_for_regions(process: subprocess.Popen[bytes], address: str, output: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        if "From a second terminal" in output.read_text():
            return
        time.sleep(0.05)
    pytest.fail(f"senren dev did not come up at {address}:\n{output.read_text()}")


_sites = itertools.count(1)


@pytest.fixture
def client(endpoint: str) -> Iterator[SenrenClient]:
    """A client of a site that nothing was ever applied to."""
    with SenrenClient(endpoint, site=f"test-{next(_sites)}", author="tester") as client:
        yield client
        # What is declared ends, and soon: a database that holds up its own deletion fails the test that made it.
        client.apply_state([], confirm_data_loss=True, wait=True, timeout=20)
