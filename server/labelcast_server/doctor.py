"""What `labelcast-server doctor` checks: everything that could keep a service from running well.

It changes nothing and knows no command line: the caller prints.
"""

import asyncio
import errno
import importlib.metadata
import importlib.util
import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from labelcast.errors import LabelcastError, StorageError, StoreUnavailableError
from labelcast.network.proxies import proxy_variables
from labelcast_server.store.disk import Disk
from labelcast_server.store.embedded.conversion import writer_of
from labelcast_server.store.embedded.data_dir_lock import lock_holder
from labelcast_server.store.embedded.data_files import data_bytes, server_directory
from labelcast_server.store.embedded.executable import find_server
from labelcast_server.store.open_store import open_store

Level = Literal["ok", "warning", "error"]

_OLDEST_PYTHON = (3, 11)
_STORE_TIMEOUT_SECONDS = 5.0
_GPU_TIMEOUT_SECONDS = 20.0
_LITTLE_DISK_BYTES = 2 * 2**30
_LITTLE_MEMORY_BYTES = 256 * 2**20
_ENOUGH_OPEN_FILES = 4096
_OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        check: name of the check, a stable word for programs.
        level: "error" keeps a service from running, "warning" may hurt it later.
        message: what was found, in one line.
        remedy: what to do about it; None if nothing needs to be done.
    """

    check: str
    level: Level
    message: str
    remedy: str | None = None


async def diagnose(
    store_url: str | None,
    data_dir: Path | None,
    ports: Sequence[int],
    devices: Sequence[str] = ("auto",),
    *,
    disk_reserve_bytes: int | None = None,
) -> list[Finding]:
    """Look at this machine as a service with these settings would find it.

    Args:
        store_url: the Redis to use; None if the service starts its own in `data_dir`.
        data_dir: the data directory; None if there is none to look at.
        ports: TCP ports that the service will listen on.
        devices: device of each decoder.
        disk_reserve_bytes: disk space that the service keeps free; by default as in `Disk.of`.

    Returns:
        One finding or more for each check, in the order of the checks. A problem is a finding,
        never an exception.
    """
    gpu = await asyncio.to_thread(check_gpu)
    findings = [check_python(), check_torch(), gpu.finding, *check_decoders(devices, gpu.count)]
    if store_url is None:
        findings += await asyncio.to_thread(check_redis_server, data_dir, disk_reserve_bytes)
    if data_dir is not None:
        findings += check_data_dir(data_dir, disk_reserve_bytes)
    findings += [check_port(port) for port in ports]
    if store_url is not None:
        findings += await check_store(store_url)
    findings += check_kernel(_OVERCOMMIT, _HUGE_PAGES)
    findings.append(check_open_files())
    findings.append(check_proxies())
    return findings


def check_python() -> Finding:
    """Check that this Python is one that labelcast supports."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= _OLDEST_PYTHON:
        return Finding("python", "ok", f"Python {version}")
    return Finding("python", "error", f"Python {version} is too old", "use Python 3.11 or later")


def check_torch() -> Finding:
    """Check that torch is installed, without importing it, which takes seconds."""
    if importlib.util.find_spec("torch") is None:
        return Finding(
            "torch",
            "warning",
            "torch is not installed: the service can deliver codes, but not finished labels",
            "pip install 'labelcast[server]'",
        )
    return Finding("torch", "ok", f"torch {importlib.metadata.version('torch')}")


@dataclass(frozen=True, slots=True)
class Gpus:
    """What the NVIDIA driver says.

    Attributes:
        finding: the result of the check.
        count: number of GPUs; None if the driver does not say.
    """

    finding: Finding
    count: int | None = 0


def check_gpu() -> Gpus:
    """Check whether the NVIDIA driver sees a GPU."""
    no_gpu = "labels are decoded on the CPU"
    command = shutil.which("nvidia-smi")
    if command is None:
        return Gpus(Finding("gpu", "ok", f"no NVIDIA driver: {no_gpu}"))
    try:
        answer = subprocess.run(
            [command, "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=_GPU_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        silent = f"nvidia-smi does not answer: {no_gpu}"
        return Gpus(Finding("gpu", "warning", silent, "look at dmesg"), None)
    names = [line.strip() for line in answer.stdout.splitlines() if line.strip()]
    if answer.returncode == 0 and names:
        return Gpus(Finding("gpu", "ok", f"{len(names)} GPU: {', '.join(names)}"), len(names))
    return Gpus(
        Finding(
            "gpu",
            "warning",
            f"there is an NVIDIA driver, but no GPU: {no_gpu}",
            "run nvidia-smi and see what it says; in a container, start it with --gpus all",
        )
    )


def check_decoders(devices: Sequence[str], gpu_count: int | None) -> list[Finding]:
    """Check that each decoder will find its device.

    Args:
        devices: device of each decoder.
        gpu_count: number of GPUs; None if unknown.
    """
    findings = []
    for number, device in enumerate(devices):
        kind, _, place = device.partition(":")
        missing = kind == "cuda" and gpu_count is not None and int(place or 0) >= gpu_count
        message = f"decodes on {device}" + missing * f", and this machine has {gpu_count} GPUs"
        remedy = "name devices that there are, counted from cuda:0; or cpu, or auto"
        findings.append(
            Finding(f"decoder-{number}", "error", message, remedy)
            if missing
            else Finding(f"decoder-{number}", "ok", message)
        )
    return findings


def check_redis_server(
    data_dir: Path | None = None, disk_reserve_bytes: int | None = None
) -> list[Finding]:
    """Check that there is a server for the embedded store, one that opens the data there are.

    Args:
        data_dir: data directory; need not exist.
        disk_reserve_bytes: disk space that the service keeps free; by default as in `Disk.of`.
    """
    directory = None if data_dir is None else server_directory(data_dir)
    try:
        writer = None if directory is None else writer_of(directory)
        server = find_server(writer)
    except StorageError as error:
        return [Finding("redis-server", "error", error.message, "do what the message says")]
    found = Finding("redis-server", "ok", str(server))
    if directory is None or writer is None or writer.writes_like(server.release):
        return [found]
    count, room = data_bytes(directory), Disk.of(directory, disk_reserve_bytes).room_bytes()
    conversion = Finding(
        "conversion",
        "warning" if count <= room else "error",
        f"the next start converts the data of {writer} in {data_dir} to {server.release}, which"
        " cannot be undone later",
        f"have {_gib(count)} of disk space free, for the copy that is kept until it has succeeded;"
        f" {_gib(room)} are free",
    )
    return [found, conversion]


def check_data_dir(data_dir: Path, disk_reserve_bytes: int | None = None) -> list[Finding]:
    """Check that the data directory is writable, has room and is not in use.

    Args:
        data_dir: data directory; need not exist.
        disk_reserve_bytes: disk space that the service keeps free; by default as in `Disk.of`.
    """
    existing = next(path for path in (data_dir, *data_dir.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return [
            Finding(
                "data-dir",
                "error",
                f"{data_dir} cannot be written",
                "choose another directory or change its owner",
            )
        ]
    disk = Disk.of(existing, disk_reserve_bytes)
    free = disk.free_bytes()
    room = Finding(
        "disk", "ok", f"{_gib(free)} free under {data_dir}, {_gib(disk.reserve_bytes)} kept back"
    )
    if disk.room_bytes() == 0:
        room = Finding(
            "disk",
            "warning",
            f"only {_gib(free)} free under {data_dir}, and {_gib(disk.reserve_bytes)} are kept"
            " back: label sets are served, and nothing can be pushed, tagged or retired",
            "free disk space; the service takes writes again by itself",
        )
    elif free < _LITTLE_DISK_BYTES:
        room = Finding(
            "disk",
            "warning",
            f"only {_gib(free)} free under {data_dir}",
            "free disk space: label sets take up to twice their size while Redis rewrites its file",
        )
    try:
        owner = lock_holder(data_dir)
    except StoreUnavailableError as error:
        return [Finding("data-dir", "error", error.message, "choose another directory"), room]
    if owner is None:
        return [Finding("data-dir", "ok", f"{data_dir} can be written and is free"), room]
    in_use = Finding(
        "data-dir",
        "warning",
        f"{data_dir} is in use by process {owner}",
        "stop that service, or give this one another directory",
    )
    return [in_use, room]


def check_port(port: int) -> Finding:
    """Check that a TCP port is free to listen on; port 0 stands for any."""
    with socket.socket() as probe:
        # As servers do it: connections of a service that just ended do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            return Finding(
                "port",
                "error",
                f"port {port} is {'taken' if taken else 'not allowed'} ({error.strerror})",
                "stop what listens there, or choose another port",
            )
    return Finding("port", "ok", f"port {port} is free")


async def check_store(store_url: str) -> list[Finding]:
    """Check that the store answers, is safe and has room."""
    try:
        store = open_store(store_url, timeout_seconds=_STORE_TIMEOUT_SECONDS)
        try:
            await store.ping()
            problems = await store.blobs.safety_problems()
            capacity = await store.blobs.capacity()
        finally:
            await store.close()
    except LabelcastError as error:
        return [Finding("store", "error", error.message, "start Redis, or correct the store URL")]
    findings = [Finding("store", "ok", "the store answers")]
    findings += [
        Finding(
            "store-safety",
            "error",
            problem,
            "change how Redis is set up, or allow an unsafe store on purpose",
        )
        for problem in problems
    ] or [Finding("store-safety", "ok", "the store keeps what is written to it")]
    headroom = capacity.headroom_bytes
    if headroom is None:
        findings.append(Finding("store-room", "ok", f"bounded by {capacity.bound}"))
    elif headroom < _LITTLE_MEMORY_BYTES:
        findings.append(
            Finding(
                "store-room",
                "warning",
                f"only {_gib(headroom)} left under {capacity.bound}",
                "raise maxmemory or add memory",
            )
        )
    else:
        findings.append(
            Finding("store-room", "ok", f"{_gib(headroom)} left under {capacity.bound}")
        )
    return findings


def check_kernel(overcommit: Path, huge_pages: Path) -> list[Finding]:
    """Check that the kernel is set up as Redis recommends; a missing setting is skipped.

    Args:
        overcommit: file with the value of vm.overcommit_memory.
        huge_pages: file with the state of transparent huge pages.
    """
    findings = []
    if (value := _read(overcommit)) is not None:
        if value == "1":
            findings.append(Finding("overcommit", "ok", "vm.overcommit_memory is 1"))
        else:
            findings.append(
                Finding(
                    "overcommit",
                    "warning",
                    f"vm.overcommit_memory is {value}: Redis may fail to rewrite its file when it"
                    " uses more than half of the memory",
                    "sysctl vm.overcommit_memory=1",
                )
            )
    if (value := _read(huge_pages)) is not None:
        if "[always]" in value:
            findings.append(
                Finding(
                    "huge-pages",
                    "warning",
                    "transparent huge pages are always on: Redis is slow and large after a fork",
                    f"echo madvise > {huge_pages}",
                )
            )
        else:
            findings.append(Finding("huge-pages", "ok", "transparent huge pages are not forced"))
    return findings


def check_open_files() -> Finding:
    """Check that this process may open enough files for its connections and its cache."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or limit >= _ENOUGH_OPEN_FILES:
        return Finding("open-files", "ok", f"{limit} open files allowed")
    return Finding(
        "open-files",
        "warning",
        f"only {limit} open files allowed, and each student's connection is one",
        f"ulimit -n {_ENOUGH_OPEN_FILES * 4}",
    )


def check_proxies() -> Finding:
    """Whether the environment leads clients that are started from here through a proxy."""
    variables = proxy_variables()
    if not variables:
        return Finding("proxy", "ok", "no proxy between clients on this machine and a service")
    return Finding(
        "proxy",
        "warning",
        f"services on other machines are reached through the proxy that {', '.join(variables)}"
        " names; over http:// it reads the admin token",
        "add the services' hosts to no_proxy, or set no_proxy='*'; addresses of this machine never"
        " use a proxy",
    )


def worst(findings: Iterable[Finding]) -> Level:
    """The worst level among findings; "ok" if there are none."""
    levels = {finding.level for finding in findings}
    return "error" if "error" in levels else "warning" if "warning" in levels else "ok"


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
