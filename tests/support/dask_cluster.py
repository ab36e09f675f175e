"""A Dask scheduler and workers as a user starts them, each on a host: a network namespace, or else an address."""

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.places import TESTS
from support.processes import until
from support.requirements import require


@dataclass(frozen=True)
class Host:
    """A host: its address, the scheduler's as seen from it, and the words that start a command there."""

    address: str
    scheduler: str
    prefix: tuple[str, ...] = ()


@dataclass(frozen=True)
class DaskCluster:
    """A running cluster: the scheduler's address and the nannies of its workers, by the address of their host."""

    address: str
    nannies: dict[str, "subprocess.Popen[bytes]"]


def require_dask() -> None:
    """Skip a test where Dask is not installed."""
    require("distributed", importlib.util.find_spec("distributed") is not None, "pip install 'pyfnn[distributed]'")


@contextlib.contextmanager
def dask_cluster(folder: Path, hosts: list[Host], **variables: str) -> Iterator[DaskCluster]:
    """Start a scheduler here and a worker of one thread on each host, with these variables set; end them all."""
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "PYTHONWARNINGS": "ignore", **variables}
    with contextlib.ExitStack() as stack, (folder / "dask.log").open("wb") as log:

        def start(*words: str) -> "subprocess.Popen[bytes]":
            process = subprocess.Popen(words, env=environment, cwd=folder, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            return process

        dask = (sys.executable, "-m", "dask")
        file = folder / "scheduler.json"
        options = "--host", "0.0.0.0", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)
        scheduler = start(*dask, "scheduler", *options)
        assert until(lambda: bool(_port(file)) or scheduler.poll() is not None, 300), "the scheduler does not start"
        port = _port(file)
        nannies = {
            host.address: start(
                *host.prefix, *dask, "worker", f"tcp://{host.scheduler}:{port}", "--host", host.address,
                "--nworkers", "1", "--nthreads", "1", "--no-dashboard", "--local-directory", str(folder),
            )
            for host in hosts
        }  # fmt: skip
        cluster = DaskCluster(f"tcp://127.0.0.1:{port}", nannies)
        from distributed import Client

        with Client(cluster.address, timeout=120) as client:
            client.wait_for_workers(len(nannies), timeout=120)  # a fleet is of the hosts that are there when it begins
        yield cluster


def _port(file: Path) -> str:
    """Return the scheduler's port by the file that it writes at its start; none before that file is complete."""
    with contextlib.suppress(OSError, ValueError):
        return str(json.loads(file.read_text(encoding="utf-8"))["address"]).rpartition(":")[2]
    return ""


@contextlib.contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """Make hosts: network namespaces where this process may make them, else addresses of the loopback interface."""
    with contextlib.ExitStack() as stack:
        try:
            made = [_namespace(number, stack) for number in range(count)]
        except (OSError, subprocess.CalledProcessError):
            made = [Host(f"127.0.0.{2 + number}", "127.0.0.1") for number in range(count)]
        yield made


def _namespace(number: int, stack: contextlib.ExitStack) -> Host:
    """Make a network namespace that is connected with this one: here 10.214.NUMBER.1, there 10.214.NUMBER.2."""
    if not shutil.which("ip") or os.geteuid() != 0:
        raise OSError("needs root and iproute2")
    name = f"pyfnn-{os.getpid() % 100000}-{number}"
    here, there = f"10.214.{os.getpid() % 250}.{4 * number + 1}", f"10.214.{os.getpid() % 250}.{4 * number + 2}"
    _ip("netns", "add", name)
    stack.callback(_ip, "netns", "del", name)
    _ip("link", "add", name[-15:], "type", "veth", "peer", "name", "eth0", "netns", name)
    _ip("addr", "add", f"{here}/30", "dev", name[-15:])
    _ip("link", "set", name[-15:], "up")
    for words in (f"addr add {there}/30 dev eth0", "link set eth0 up", "link set lo up"):
        _ip("-n", name, *words.split())
    return Host(there, here, ("ip", "netns", "exec", name))


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def ends(process: "subprocess.Popen[bytes]") -> bool:
    """Return True where a process ends within a minute."""
    return until(lambda: process.poll() is not None)
