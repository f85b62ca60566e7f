"""Every piece of advice is tried: what causes the error, what its message says, and that it works.

Advice on what a service keeps is tried where one runs: in tests/e2e and tests/server/admin.
"""

import contextlib
import os
import re
import socket
from pathlib import Path
from unittest.mock import patch

import pytest

from labelcast_server.settings import (
    ADMIN_TOKEN_NAME,
    ServerSettings,
    load_settings,
    make_data_dir,
    resolve_admin_token,
)
from labelcast_server.store.embedded.data_dir_lock import DataDirLock
from labelcast_server.store.open_store import open_store
from labelcast_server.supervisor.listeners import reserve_port
from labelcast_server.supervisor.one_process import serve_alone
from labelcast_server.supervisor.roles import ADMIN, Role, decoder
from labelcast_server.telemetry.exposition import served_metrics
from tests.factories.advice import Case, try_advice


def token_of(directory: Path, content: str | None, mode: int = 0o600) -> str:
    """The token that a service finds, or makes where the file is deleted."""
    path = directory / ADMIN_TOKEN_NAME
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
        path.chmod(mode)
    return resolve_admin_token(load_settings(data_dir=directory))


def from_variable(name: str, value: str | None) -> ServerSettings:
    """Settings under one variable; None unsets it."""
    environment = {} if value is None else {name: value}
    kept = {each: held for each, held in os.environ.items() if not each.startswith("LABELCAST_")}
    with patch.dict(os.environ, kept | environment, clear=True):
        return load_settings()


def a_file(path: Path) -> Path:
    """A file where a directory should be."""
    path.touch()
    return path


def used(data_dir: Path) -> Path:
    """A data directory that a service makes for itself."""
    make_data_dir(load_settings(data_dir=data_dir))
    return data_dir


def twice(first: Path, second: Path) -> bool:
    """Two services, each with its own process's lock."""
    locks = [DataDirLock(first), DataDirLock(second)]
    try:
        for lock in locks:
            lock.acquire()
    finally:
        for lock in locks:
            lock.release()
    return True


def beside_another(*, stopped: bool = False, port: int | None = None) -> int:
    """Take a port that somebody listens on, unless that one was stopped or another is taken."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as other:
        taken = int(other.getsockname()[1])
        if stopped:
            other.close()
        with reserve_port("127.0.0.1", taken if port is None else port) as reserved:
            return int(reserved.getsockname()[1])


class ServingError(Exception):
    """A process serves, and is told to end."""


def alone(role: Role, data_dir: Path, **settings: object) -> None:
    """One process of a service, until it serves."""

    def end(_: str) -> None:
        raise ServingError

    with pytest.raises(ServingError):
        serve_alone(role, load_settings(data_dir=data_dir, **settings), end)


def metrics(port: int) -> bool:
    with served_metrics("127.0.0.1", port, None):
        return True


def beside_metrics(*, choose_another: bool) -> bool:
    """Serve metrics on a port that somebody listens on, or on another."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as other:
        return metrics(0 if choose_another else int(other.getsockname()[1]))


CASES: list[Case[Path]] = [
    Case(
        "choose one that you may write",
        lambda at: twice(a_file(at / "file"), at / "directory"),
        lambda at: twice(at / "another", at / "directory"),
    ),
    Case(
        "counted from 0; give --decoders or LABELCAST_DECODERS, to workers too",
        lambda at: alone(decoder(1), at),
        lambda at: alone(decoder(1), at, decoders=2),
    ),
    Case(
        "is too long for a socket; choose a shorter data directory",
        lambda at: alone(decoder(0), at / ("long" * 30)),
        lambda at: alone(decoder(0), at / "short"),
    ),
    Case(
        "choose another LABELCAST_METRICS_PORT",
        lambda _: beside_metrics(choose_another=False),
        lambda _: beside_metrics(choose_another=True),
    ),
    Case(
        "delete it to get a new one",
        lambda at: token_of(at, "no token"),
        lambda at: token_of(at, None),
    ),
    Case(
        "delete it to get a new token",
        lambda at: token_of(at, "a-token", mode=0o644),
        lambda at: token_of(at, None),
    ),
    Case(
        "choose another data directory or set LABELCAST_ADMIN_TOKEN",
        lambda at: resolve_admin_token(load_settings(data_dir=a_file(at / "file"))),
        lambda at: (
            resolve_admin_token(load_settings(data_dir=at / "directory")),
            resolve_admin_token(load_settings(data_dir=at / "file", admin_token="s3cret")),
        ),
    ),
    Case(
        "give a directory that you may write as --data-dir or LABELCAST_DATA_DIR",
        lambda at: used(a_file(at / "file")),
        lambda at: (
            used(at / "directory"),
            used(from_variable("LABELCAST_DATA_DIR", str(at / "other")).data_dir),
        ),
    ),
    Case(
        "unset it to go without",
        lambda _: from_variable("LABELCAST_READ_TOKEN", ""),
        lambda _: from_variable("LABELCAST_READ_TOKEN", None),
    ),
    Case(
        "unset it to use the embedded Redis",
        lambda _: from_variable("LABELCAST_REDIS_URL", ""),
        lambda _: from_variable("LABELCAST_REDIS_URL", None),
    ),
    Case(
        "did you mean LABELCAST_GRPC_PORT?",
        lambda _: from_variable("LABELCAST_GRPC_PROT", "7070"),
        lambda _: from_variable("LABELCAST_GRPC_PORT", "7070"),
    ),
    Case(
        "must be auto, cpu, cuda or cuda:N",
        lambda _: load_settings(device="gpu"),
        lambda _: [load_settings(device=name) for name in ("auto", "cpu", "cuda", "cuda:1")],
    ),
    Case(
        "like 0.0.0.0, ::1 or localhost; ports are given by grpc_port and admin_port",
        lambda _: load_settings(host="localhost:7070"),
        lambda _: [
            load_settings(host=host, grpc_port=7070, admin_port=7071)
            for host in ("0.0.0.0", "::1", "localhost")
        ],
    ),
    Case(
        "a store URL reads redis://[user:password@]host:port/0, rediss://... or unix:///path",
        lambda _: open_store("http://127.0.0.1:6379"),
        lambda _: [
            open_store(url)
            for url in (
                "redis://user:password@127.0.0.1:6379/0",
                "redis://127.0.0.1:6379/0",
                "rediss://127.0.0.1:6379/0",
                "unix:///path/to/socket",
            )
        ],
    ),
    Case(
        "stop that one or choose another directory",
        lambda at: twice(at / "one", at / "one"),
        lambda at: (twice(at / "one", at / "other"), twice(at / "one", at / "two")),
    ),
    Case(
        "stop what has it, or choose another port (0 picks a free one)",
        lambda _: beside_another(),
        lambda _: (beside_another(stopped=True), beside_another(port=0)),
    ),
    Case(
        "give one that it has, or 127.0.0.1 for this machine alone, or 0.0.0.0 for all",
        lambda _: reserve_port("192.0.2.1", 0),
        lambda _: reserve_port("127.0.0.1", 0).close(),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "-", case.says)[:50])
def test_the_advice_works(case: Case[Path], tmp_path: Path) -> None:
    try_advice(case, tmp_path)


def test_a_process_of_its_own_is_told_where_redis_is(redis_url: str, tmp_path: Path) -> None:
    case = Case[Path](
        "set --redis-url or LABELCAST_REDIS_URL, or run `labelcast-server serve`",
        lambda at: alone(ADMIN, at, admin_port=0),
        lambda at: alone(ADMIN, at, admin_port=0, redis_url=redis_url),
    )
    try_advice(case, tmp_path)
