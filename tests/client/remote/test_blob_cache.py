"""`BlobCache`: what it gives back is what its digest says, or nothing."""

import mmap
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from labelcast import LabelClient
from labelcast.errors import DigestMismatchError, InvalidRequestError, ServiceUnavailableError
from labelcast.label_set import BlobRef, digest_of
from labelcast.remote.node_cache.asked_bytes import AskedBytes
from labelcast.remote.node_cache.blob_cache import BlobCache
from labelcast.remote.node_cache.code_choice import FetchShards, choose
from labelcast.remote.node_cache.locks import sole_maker
from tests.factories.odd_file_systems import without_locks
from tests.factories.tiny_disk import tiny_disk

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


def test_many_threads_fetch_one_blob_once(tmp_path: Path) -> None:
    cache, start = BlobCache(tmp_path), threading.Barrier(8)
    fetched: list[int] = []
    found: list[bytes] = []

    def fetch() -> Iterator[bytes]:
        fetched.append(1)
        yield CONTENT[:100]
        yield CONTENT[100:]

    def read() -> None:
        start.wait(100)
        found.append(cache.read(REF, fetch))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert found == [CONTENT] * 8
    assert len(fetched) == 1
    assert len(files(tmp_path)) == 1


def test_what_arrives_damaged_is_not_kept(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path)
    for read in (cache.read, cache.open):
        with pytest.raises(DigestMismatchError, match="fetch or upload it again"):
            read(REF, lambda: [b"\1" + CONTENT[1:]])
        assert files(tmp_path) == []
    assert cache.read(REF, lambda: [CONTENT]) == CONTENT


def test_what_cannot_be_fetched_leaves_nothing(tmp_path: Path) -> None:
    def fetch() -> Iterator[bytes]:
        yield CONTENT[:100]
        raise ServiceUnavailableError("gone")

    with pytest.raises(ServiceUnavailableError, match="gone"):
        BlobCache(tmp_path).read(REF, fetch)
    assert files(tmp_path) == []


def killed_while_it_writes(directory: Path) -> None:
    """A process that ends in the middle of a blob, without a chance to clean up."""
    program = (
        "import os, signal, sys; from pathlib import Path;"
        "from tests.client.remote.test_blob_cache import CONTENT, REF;"
        "from labelcast.remote.node_cache.blob_cache import BlobCache\n"
        "def fetch():\n"
        "    yield CONTENT[:100]\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "BlobCache(Path(sys.argv[1])).read(REF, fetch)"
    )
    root = Path(__file__).parents[3]
    ended = subprocess.run([sys.executable, "-c", program, str(directory)], cwd=root)
    assert ended.returncode == -signal.SIGKILL


def test_the_next_one_takes_over_from_a_killed_process(tmp_path: Path) -> None:
    killed_while_it_writes(tmp_path)
    (left,) = files(tmp_path)
    assert left.name.endswith(".partial")
    cache = BlobCache(tmp_path)
    assert cache.get(REF) is None
    assert cache.read(REF, lambda: [CONTENT]) == CONTENT
    assert [path.name for path in files(tmp_path)] == [left.name[1:].removesuffix(".partial")]


def test_a_maker_that_stops_writing_is_not_waited_for_forever(tmp_path: Path) -> None:
    path, partial = tmp_path / "a", tmp_path / ".a.partial"
    with sole_maker(path, partial, 10) as mine:
        assert mine is not None
        with pytest.raises(TimeoutError, match="has stopped"), sole_maker(path, partial, 0.2):
            pass
        with sole_maker(path, partial, 0) as other:
            assert other is None
    with sole_maker(path, partial, 0) as mine:
        assert mine is not None


def blob(number: int, size: int = 2**18) -> tuple[BlobRef, bytes]:
    content = bytes([number]) * size
    return BlobRef(digest_of(content), size), content


def test_the_least_recently_used_go_and_none_that_is_open(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 2**20)
    blobs = [blob(number) for number in range(6)]
    for ref, content in blobs[:4]:
        cache.put(ref, content)
    killed = tmp_path / ".sha256-0.999-1.partial"
    killed.write_bytes(bytes(100))
    descriptor = cache.open(blobs[0][0], list)
    assert cache.get(blobs[1][0]) == blobs[1][1]
    for ref, content in blobs[4:]:
        cache.put(ref, content)
    # The oldest are 2 and 3: of 0 and 1, the one is open and the other was read since.
    kept = [number for number, (ref, _) in enumerate(blobs) if cache.missing_bytes([ref]) == 0]
    assert kept == [0, 1, 4, 5]
    assert not killed.exists()
    for _, held in ((number, blob(number)) for number in (6, 7, 8)):
        cache.put(*held)
    assert cache.missing_bytes([blobs[0][0]]) == 0
    os.close(descriptor)
    for number in (9, 10, 11, 12):
        cache.put(*blob(number))
    assert cache.missing_bytes([blobs[0][0]]) == 2**18
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 2**20


def test_where_all_is_in_use_nothing_more_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = BlobCache(tmp_path, 2**19)
    held = []
    for number in (1, 2):
        ref, content = blob(number)
        held.append(cache.open(ref, partial(iter, [content])))
    ref, content = blob(3)
    assert cache.read(ref, lambda: [content]) == content
    assert "of cache_mib, of which 0.5 are in use" in caplog.text
    with pytest.raises(OSError, match="cache_mib"):
        cache.open(ref, lambda: [content])
    large, whole = blob(4, 2**20)
    assert cache.read(large, lambda: [whole]) == whole
    for descriptor in held:
        os.close(descriptor)
    assert len(files(tmp_path)) == 2


def test_what_is_read_may_be_removed(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path)
    descriptor = cache.open(REF, lambda: [CONTENT])
    with mmap.mmap(descriptor, REF.size, prot=mmap.PROT_READ) as mapped:
        for path in files(tmp_path):
            path.unlink()
        assert cache.read(REF, lambda: [CONTENT]) == CONTENT
        assert mapped[:] == CONTENT
        # Made anew by others, a file is not the one that was damaged.
        cache.drop(REF, descriptor)
    os.close(descriptor)
    assert cache.get(REF) == CONTENT


def test_a_file_of_another_size_is_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = BlobCache(tmp_path)
    cache.put(REF, CONTENT)
    (path,) = files(tmp_path)
    os.truncate(path, 100)
    descriptor = cache.open(REF, lambda: [CONTENT])
    assert os.pread(descriptor, 2 * REF.size, 0) == CONTENT
    os.close(descriptor)
    assert f"{path} is damaged; it is removed and fetched again" in caplog.text


@pytest.mark.parametrize("refusal", ["locks", "file"])
def test_what_the_disk_refuses_costs_the_cache_alone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    refusal: str,
) -> None:
    directory = tmp_path / "cache"
    if refusal == "locks":
        without_locks(monkeypatch, below=tmp_path)
    else:
        directory.write_text("no directory")
    cache = BlobCache(directory)
    assert cache.read(REF, lambda: [CONTENT]) == CONTENT
    assert "cannot cache" in caplog.text
    cache.put(REF, CONTENT)
    assert cache.get(REF) is None


def test_a_full_disk_costs_the_cache_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with tiny_disk(tmp_path / "disk", 1) as disk:
        disk.fill(leave=2**18)
        cache = BlobCache(disk.path / "cache")
        ref, content = blob(1, 2**19)
        assert cache.read(ref, lambda: [content]) == content
        assert "No space left on device" in caplog.text
        # Refused before anything was fetched: nothing is half there.
        assert files(disk.path / "cache") == []
        cache.put(REF, CONTENT)
        assert cache.get(REF) == CONTENT


def test_the_users_own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    LabelClient("127.0.0.1:1", cache_directory=True)
    cache = BlobCache.of(True, 1)
    assert cache is not None
    cache.put(REF, CONTENT)
    (path,) = files(tmp_path)
    assert path.parent == tmp_path / "xdg" / "labelcast"
    assert path.parent.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    home = BlobCache.of(True, 1)
    assert home is not None
    home.put(REF, CONTENT)
    assert path.name in {found.name for found in files(tmp_path / "home/.cache/labelcast")}
    assert BlobCache.of(None, 1) is BlobCache.of(False, 1) is None


def test_impossible_caches_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="cache_mib is 0, must be at least 1"):
        LabelClient("127.0.0.1:1", cache_directory=tmp_path, cache_mib=0)
    with pytest.raises(InvalidRequestError, match="one of auto, always, never, not 'some'"):
        LabelClient("127.0.0.1:1", cache_directory=tmp_path, fetch_shards="some")
    with pytest.raises(InvalidRequestError, match="give cache_directory=True, or a directory"):
        LabelClient("127.0.0.1:1", fetch_shards="always")
    LabelClient("127.0.0.1:1", fetch_shards="always", cache_directory=True)


def test_asked_bytes_are_counted_by_all_processes(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "asked"
    first, second = (AskedBytes(path, 1000) for _ in range(2))
    first.add(999)
    second.share()
    assert (first.total, second.total) == (999, 0)
    first.add(1)
    second.add(500)
    second.share()
    assert second.total == 1500
    # Damage costs a choice, and no label.
    path.write_bytes(b"\xff" * 20)
    first.add(1000)
    assert first.total == 2**64 - 1
    first.pay(2**64)
    second.share()
    assert second.total == 0
    first.add(1000)
    second.pay(300)
    assert second.total == 700
    # What cannot be shared is counted for oneself.
    alone = AskedBytes(path / "below", 1000)
    alone.add(5000)
    assert alone.total == 5000


def test_bytes_choose() -> None:
    def chosen(rule: FetchShards = FetchShards.AUTO, **changed: int) -> bool:
        sizes = {"row_bytes": 10, "missing_bytes": 20, "all_bytes": 30, "max_bytes": 40}
        return choose(rule, **sizes | changed).whole_shards

    assert not chosen()
    assert chosen(row_bytes=20)
    assert chosen(row_bytes=0, missing_bytes=0)
    assert chosen(FetchShards.ALWAYS)
    assert not chosen(FetchShards.NEVER, missing_bytes=0)
    for rule in FetchShards:
        assert not chosen(rule, max_bytes=29, row_bytes=10**9)
