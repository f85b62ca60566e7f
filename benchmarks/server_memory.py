"""What labels cost in the memory of a server, beyond their own bytes.

    python -m benchmarks.server_memory [--server /usr/bin/redis-server]

Blobs of random rows are written through the store, in chunks as label sets have them, each to a
server of its own. Then the server is started again, since loading allocates in another order than
writing. `used` is what the server counts (`used_memory`), `resident` what the kernel does; both are
ratios to the payload, less what the empty server took.
"""

import argparse
import asyncio
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import redis

from labelcast.identifiers import UploadId, digest_from_hash
from labelcast.label_set.chunking import rows_per_chunk
from labelcast_server.store.blob_store import BlobInfo, Upload
from labelcast_server.store.embedded.config import config_text
from labelcast_server.store.embedded.executable import find_server
from labelcast_server.store.open_store import open_store

RESULT = Path(__file__).parent / "results" / "store.json"
STRIDES = (1, 2, 4, 8, 16, 20, 80, 2000)
_CHUNKS_A_CALL = 64
_NEVER = 4e9


@dataclass(frozen=True)
class Memory:
    """Bytes that a server takes, by its own count and by the kernel's."""

    used: int
    resident: int

    @classmethod
    def of(cls, client: "redis.Redis") -> "Memory":
        # Buffers of the connection that wrote are given back by a timer.
        time.sleep(2)
        info = client.info("memory")
        return cls(int(info["used_memory"]), int(info["used_memory_rss"]))

    def beyond(self, empty: "Memory", payload: int) -> dict[str, float]:
        return {
            "used": round((self.used - empty.used) / payload, 5),
            "resident": round((self.resident - empty.resident) / payload, 5),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", type=Path, help="by default the one that a service would start")
    parser.add_argument("--mebibytes", type=int, default=128, help="payload of each blob")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    server = options.server or find_server().path
    result = {
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
        "rows": [asdict(measure(server, stride, options.mebibytes * 2**20)) for stride in STRIDES],
    } | _about(server)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


@dataclass(frozen=True)
class Cost:
    """What the rows of one blob take, as a ratio to their bytes."""

    bytes_per_row: int
    rows_per_chunk: int
    payload_bytes: int
    written: dict[str, float]
    loaded: dict[str, float]


def measure(server: Path, stride: int, size: int) -> Cost:
    chunk_bytes = rows_per_chunk(stride) * stride
    payload = size // chunk_bytes * chunk_bytes
    with tempfile.TemporaryDirectory() as temporary:
        with running(server, Path(temporary)) as client:
            empty = Memory.of(client)
            asyncio.run(write(f"unix://{temporary}/socket", payload, chunk_bytes))
            written = Memory.of(client)
        with running(server, Path(temporary)) as client:
            loaded = Memory.of(client)
    return Cost(
        stride,
        chunk_bytes // stride,
        payload,
        written.beyond(empty, payload),
        loaded.beyond(empty, payload),
    )


async def write(url: str, payload: int, chunk_bytes: int) -> None:
    """Push one blob as the service does."""
    content = os.urandom(_CHUNKS_A_CALL * chunk_bytes)
    chunks = [content[at : at + chunk_bytes] for at in range(0, len(content), chunk_bytes)]
    store = open_store(url, timeout_seconds=60)
    digest = digest_from_hash(hashlib.sha256(content).digest())
    blob = BlobInfo(digest, payload, chunk_bytes)
    await store.blobs.begin_upload(Upload(UploadId("a" * 16), blob, 0, _NEVER))
    count = payload // chunk_bytes
    for first in range(0, count, _CHUNKS_A_CALL):
        await store.blobs.append_chunks(UploadId("a" * 16), first, chunks[: count - first])
    await store.blobs.finish_upload(UploadId("a" * 16))
    await store.close()


@contextmanager
def running(server: Path, directory: Path) -> Iterator["redis.Redis"]:
    """A server set up as the embedded one is."""
    socket = directory / "socket"
    config = config_text(directory=directory, socket=socket, max_memory_bytes=0)
    with subprocess.Popen([server, "-"], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(config.encode())
        process.stdin.close()
        with redis.Redis(unix_socket_path=str(socket)) as client:
            while not _is_ready(client):
                assert process.poll() is None, (directory / "redis.log").read_text()
                time.sleep(0.05)
            yield client
        process.terminate()


def _is_ready(client: "redis.Redis") -> bool:
    try:
        return not client.info("persistence")["loading"]
    except redis.ConnectionError:
        return False


def _about(server: Path) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as temporary, running(server, Path(temporary)) as client:
        info = client.info()
    version = info.get("valkey_version", info["redis_version"])
    return {
        "server": f"{info.get('server_name', 'redis').capitalize()} {version}",
        "allocator": str(info["mem_allocator"]),
    }


if __name__ == "__main__":
    main()
