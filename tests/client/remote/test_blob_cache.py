"""`BlobCache`: what it gives back is what its digest says, or nothing."""

import threading
from pathlib import Path

import pytest

from labelcast.label_set import BlobRef, digest_of
from labelcast.remote.node_cache.blob_cache import BlobCache

CONTENT = bytes(range(256)) * 40
REF = BlobRef(digest_of(CONTENT), len(CONTENT))


def files(directory: Path) -> list[Path]:
    """Everything but the lock."""
    return sorted(path for path in directory.rglob("*") if path.is_file() and path.name != ".lock")


def test_what_was_put_is_found_by_another_cache(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "cache"
    assert BlobCache(directory).get(REF) is None
    assert not directory.exists()
    BlobCache(directory).put(REF, CONTENT)
    assert BlobCache(directory).get(REF) == CONTENT
    assert len(files(directory)) == 1


def test_another_blob_is_absent(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path)
    cache.put(REF, CONTENT)
    assert cache.get(BlobRef(digest_of(b"other"), 5)) is None


@pytest.mark.parametrize(
    "damaged",
    [b"", CONTENT[:-1], CONTENT + b"\0", b"\1" + CONTENT[1:]],
    ids=["empty", "short", "long", "flipped"],
)
def test_a_damaged_file_is_dropped(tmp_path: Path, damaged: bytes) -> None:
    cache = BlobCache(tmp_path)
    cache.put(REF, CONTENT)
    (path,) = files(tmp_path)
    path.write_bytes(damaged)
    assert cache.get(REF) is None
    assert files(tmp_path) == []
    cache.put(REF, CONTENT)
    assert cache.get(REF) == CONTENT


def test_a_writer_that_died_leaves_nothing_that_is_read(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path)
    cache.put(REF, CONTENT)
    (path,) = files(tmp_path)
    path.rename(path.with_name(f".{path.name}.999-1.partial"))
    assert cache.get(REF) is None


def test_many_threads_may_put_one_blob(tmp_path: Path) -> None:
    cache, start, failures = BlobCache(tmp_path), threading.Barrier(8), []

    def put() -> None:
        start.wait(100)
        try:
            for _ in range(20):
                cache.put(REF, CONTENT)
                if cache.get(REF) != CONTENT:
                    failures.append("read something else")
        except OSError as error:
            failures.append(repr(error))

    threads = [threading.Thread(target=put) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert failures == []
    assert len(files(tmp_path)) == 1
