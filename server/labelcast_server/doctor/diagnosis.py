"""Every check in its order."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from labelcast_server.access.certificates import Certificates
from labelcast_server.doctor.certificates import check_certificates
from labelcast_server.doctor.data_directory import check_data_dir, check_redis_server
from labelcast_server.doctor.decoding import check_decoders, check_gpu, check_torch
from labelcast_server.doctor.finding import Finding
from labelcast_server.doctor.given_store import check_store
from labelcast_server.doctor.machine import (
    HUGE_PAGES,
    OVERCOMMIT,
    check_kernel,
    check_open_files,
    check_python,
)
from labelcast_server.doctor.network import check_port, check_proxies


async def diagnose(
    store_url: str | None,
    data_dir: Path | None,
    ports: Sequence[int],
    devices: Sequence[str] = ("auto",),
    *,
    certificates: Certificates | None = None,
    address: str = "0.0.0.0",  # noqa: S104 - nothing listens
    disk_reserve_bytes: int | None = None,
) -> list[Finding]:
    """Look at this machine as a service with these settings would find it.

    Args:
        store_url: the Redis to use; None if the service starts its own in `data_dir`.
        data_dir: the data directory; None if there is none to look at.
        ports: TCP ports that the service will listen on.
        devices: device of each decoder.
        certificates: files that the service shows; None for plain text.
        address: host by which clients reach the service; 0.0.0.0 or :: if that is unknown.
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
    findings += check_certificates(certificates, address)
    if store_url is not None:
        findings += await check_store(store_url)
    findings += check_kernel(OVERCOMMIT, HUGE_PAGES)
    findings.append(check_open_files())
    findings.append(check_proxies())
    return findings
