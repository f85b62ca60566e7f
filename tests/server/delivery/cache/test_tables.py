"""Tables in files: the same as in memory, shared by processes, and never trusted for a name."""

import asyncio
import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from labelcast.errors import ServiceUnavailableError
from labelcast.label_set import GridIndex, RowOrder, ViewIndex
from labelcast_server.delivery.cache.bounds import Bounds
from labelcast_server.delivery.cache.directory import CacheDirectory
from labelcast_server.delivery.cache.tables import Mapped, SharedTables, scrub_tables

SAMPLES = 50_000


def make_index(samples: int = SAMPLES) -> ViewIndex:
    """An index of sparse sample IDs: the same at every call."""
    ids = np.unique(np.random.default_rng(0).integers(2**63, size=samples, dtype=np.uint64))
    return ViewIndex([GridIndex(ids, np.arange(3, dtype=np.uint32), RowOrder.SAMPLE_MAJOR)])


def files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.table"))


def ids_file(directory: Path) -> Path:
    """The file of the sample IDs."""
    (path,) = [path for path in files(directory) if path.stat().st_size == 8 * SAMPLES]
    return path


def assert_right(tables: ViewIndex) -> None:
    truth = make_index()
    views = truth.segments[0].views()
    rows = np.random.default_rng(1).permutation(len(views))
    assert np.array_equal(tables.locate(views[rows])[1], rows)
    assert tables.segments[0].views_at(rows) == views[rows]


def share(directory: Path, bounds: Bounds | None = None) -> tuple[Mapped[ViewIndex], SharedTables]:
    shared = SharedTables(CacheDirectory(directory, bounds or Bounds()))
    return shared.share(make_index()), shared


def test_two_workers_map_the_same_files(tmp_path: Path) -> None:
    first, _ = share(tmp_path)
    before = [(path.name, path.stat().st_ino) for path in files(tmp_path)]
    # Sample IDs, and where each bucket of them begins; seeds are too few for a file.
    assert len(before) == 2
    second, _ = share(tmp_path)
    assert [(path.name, path.stat().st_ino) for path in files(tmp_path)] == before
    for mapped in (first, second):
        assert len(mapped.files) == 2
        assert_right(mapped.get())
        ids = mapped.get().segments[0].sample_ids
        assert not ids.flags.writeable
        with pytest.raises(ValueError, match="WRITEABLE"):
            ids.flags.writeable = True


def flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(8 * (SAMPLES // 2))
        file.write(b"\xff\xff")


def exchange(path: Path) -> None:
    """Give it another sample's ID: right in form, wrong in content."""
    ids = np.fromfile(path, "<u8")
    ids[7] = ids[6] + 1
    ids.tofile(path)


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def cut(path: Path) -> None:
    os.truncate(path, 4096)


def link_elsewhere(path: Path) -> None:
    path.symlink_to(path.rename(path.with_name("elsewhere")))


@pytest.mark.parametrize("happens", [flip, exchange, zero, cut, link_elsewhere])
def test_what_happens_to_a_file_while_no_service_runs(
    tmp_path: Path, happens: Callable[[Path], None]
) -> None:
    share(tmp_path)
    happens(ids_file(tmp_path))
    mapped, shared = share(tmp_path)
    assert_right(mapped.get())
    assert len(mapped.files) == 2
    assert all(file.check() for file in shared.files)
    assert np.array_equal(np.fromfile(ids_file(tmp_path), "<u8"), make_index().sample_ids)


async def test_damage_in_use_is_found_and_repaired_for_all(tmp_path: Path) -> None:
    mine, shared = share(tmp_path)
    others, _ = share(tmp_path)
    exchange(ids_file(tmp_path))
    renewed = asyncio.Event()

    async def renew() -> None:
        with pytest.raises(ServiceUnavailableError, match="retry"):
            mine.get()
        again.append(shared.share(make_index()))
        renewed.set()

    again: list[Mapped[ViewIndex]] = []
    scrubbing = asyncio.create_task(scrub_tables(shared, renew, round_seconds=0, most_of_a_core=1))
    async with asyncio.timeout(60):
        await renewed.wait()
    scrubbing.cancel()
    assert_right(again[0].get())
    assert_right(others.get())
    assert shared.share(make_index()).are_usable()


def test_a_file_that_was_cut_is_not_used_again(tmp_path: Path) -> None:
    first, _ = share(tmp_path)
    cut(ids_file(tmp_path))
    with pytest.raises(ServiceUnavailableError):
        first.get()
    again, _ = share(tmp_path)
    assert_right(again.get())
    # What it has mapped would read as zeros if the file were lengthened.
    assert not first.are_usable()


def test_without_room_tables_stay_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mapped, _ = share(tmp_path, Bounds(limit_bytes=1))
    assert mapped.files == ()
    assert files(tmp_path) == []
    assert_right(mapped.get())
    assert "LABELCAST_CACHE_MIB" in caplog.records[0].getMessage()


def test_tables_in_use_are_not_evicted(tmp_path: Path) -> None:
    mapped, shared = share(tmp_path)
    for path in files(tmp_path):
        os.utime(path, (0, 0))
    shared.look()
    with pytest.raises(Exception, match="no room"):
        Bounds(limit_bytes=2**20).make_room(tmp_path, 2**20)
    assert len(files(tmp_path)) == len(mapped.files)
    del mapped
    assert shared.files == []


MANY = 1_000_000


def memory_of(part: str) -> dict[str, int]:
    """Bytes of this process's mappings whose lines in smaps name `part`, by kind."""
    found, inside = dict.fromkeys(("Rss", "Private_Dirty", "Private_Clean"), 0), False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, *rest = line.split()
        if not name.endswith(":"):
            inside = part in line
        elif inside and name[:-1] in found:
            found[name[:-1]] += int(rest[0]) * 1024
    return found


def map_and_measure(directory: Path, pipe: Connection) -> None:
    mapped = SharedTables(CacheDirectory(directory)).share(make_index(MANY))
    segment = mapped.get().segments[0]
    # Both columns of a table are read whole.
    assert segment.sample_positions(segment.sample_ids)[1].all()
    pipe.send("mapped")
    pipe.recv()
    pipe.send(memory_of(".table"))
    pipe.recv()


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="Linux tells it")
def test_processes_share_the_pages(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    pipes = [spawn.Pipe() for _ in range(2)]
    started = [
        spawn.Process(target=map_and_measure, args=(tmp_path, theirs)) for _, theirs in pipes
    ]
    for process in started:
        process.start()
    try:
        for ours, _ in pipes:
            assert ours.poll(60)
            assert ours.recv() == "mapped"
        for ours, _ in pipes:
            ours.send("measure")
            assert ours.poll(60)
            memory = ours.recv()
            assert memory["Rss"] > 8 * MANY
            assert memory["Private_Dirty"] + memory["Private_Clean"] < 2**20
    finally:
        for process, (ours, _) in zip(started, pipes, strict=True):
            ours.send("end")
            process.join(60)
            process.kill()
