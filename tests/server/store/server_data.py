"""Data of real servers: Redis 6.2.14 and 7.0.15 and Valkey 9.1.2, each with the same keys.

Each directory of tests/golden/servers was written once by the servers in its name, a rewritten one
after BGREWRITEAOF, one with "then" after a start of the second. They are never made anew.
"""

import shutil
from pathlib import Path
from typing import Any

from redis import Redis

from labelcast_server.store.embedded.data_mark import DataMark, read_mark
from labelcast_server.store.embedded.executable import find_server
from labelcast_server.store.embedded.process import EmbeddedRedis
from labelcast_server.store.embedded.release import ServerKind, ServerRelease

GOLDEN = Path(__file__).parents[2] / "golden" / "servers"

WRITERS = {
    "redis-6.2": "Redis 6.2.0",
    "redis-6.2-rewritten": "Redis 6.2.14",
    "redis-6.2-then-7.0": "Redis 7.0.0",
    "redis-6.2-rewritten-then-7.0": "Redis 7.0.0",
    "redis-7.0": "Redis 7.0.15",
    "redis-7.0-rewritten": "Redis 7.0.15",
    "valkey-9.1": "Valkey 9.1.2",
    "valkey-9.1-rewritten": "Valkey 9.1.2",
}
"""Name of each directory, and what its files tell about the writer."""

REDIS_6 = ServerRelease(ServerKind.REDIS, (6, 2, 14))
OF_REDIS = [name for name in WRITERS if name.startswith("redis")]


def put(name: str, data_dir: Path) -> Path:
    """Put one into a data directory; returns the server's directory there."""
    directory = data_dir / "redis"
    shutil.copytree(GOLDEN / name, directory)
    return directory


def contents(directory: Path) -> dict[str, bytes]:
    """The data files of a directory with what is in them."""
    paths = [directory / "appendonly.aof", *(directory / "appendonlydir").glob("*")]
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths if path.is_file()}


def assert_complete(embedded: EmbeddedRedis, name: str) -> None:
    """Every key of a golden directory is there, and nothing else."""
    with Redis.from_url(embedded.url) as client:
        kept: dict[bytes, Any] = {
            key: client.get(key) for key in client.scan_iter() if client.type(key) == b"string"
        }
        expected = {b"chunk:%d" % number: bytes([number]) * 100 for number in range(10)}
        if "rewritten" in name:
            expected[b"after"] = b"rewrite"
        assert kept == expected
        assert client.hgetall("labels") == {b"one": b"1", b"two": b"2"}
        assert client.smembers("names") == {b"a", b"b"}
        assert client.dbsize() == len(expected) + 2


def bundled() -> ServerRelease:
    return find_server().release


def assert_settled(data_dir: Path) -> None:
    """The data are Valkey's, and no conversion has left anything."""
    assert read_mark(data_dir / "redis") == DataMark(bundled())
    assert [*data_dir.glob("redis.*")] == []
