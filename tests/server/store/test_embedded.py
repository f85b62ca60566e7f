"""The embedded Redis: what it keeps, who may have it, and how it dies."""

import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from labelcast.errors import BusyError, StoreUnavailableError
from labelcast_server.doctor.data_directory import check_data_dir
from labelcast_server.store.embedded.client import wait_for_end
from labelcast_server.store.embedded.config import config_text, socket_in
from labelcast_server.store.embedded.data_dir_lock import DataDirLock, lock_holder
from labelcast_server.store.embedded.process import EmbeddedRedis
from labelcast_server.store.open_store import open_store
from tests.factories.odd_file_systems import without_locks
from tests.server.store.blobs import content_of, push

CONTENT = os.urandom(200_000)

OWNER = """
import sys
from pathlib import Path
from labelcast_server.store.embedded.process import EmbeddedRedis

embedded = EmbeddedRedis(Path(sys.argv[1]))
embedded.start()
print(embedded.pid, flush=True)
sys.stdin.read()
"""


async def _push(embedded: EmbeddedRedis) -> None:
    store = open_store(embedded.url)
    await push(store.blobs, CONTENT, 4094)
    await store.close()


async def _assert_kept(embedded: EmbeddedRedis) -> None:
    store = open_store(embedded.url)
    info = await push(store.blobs, CONTENT[:10])
    assert await content_of(store.blobs, info) == CONTENT[:10]
    whole = await push(store.blobs, CONTENT, 10_000)
    # The blob that was there first has stayed.
    assert whole.chunk_bytes == 4094
    assert await content_of(store.blobs, whole) == CONTENT
    await store.close()


async def test_data_survive_a_restart(tmp_path: Path) -> None:
    data_dir = tmp_path / "made by start"
    with EmbeddedRedis(data_dir) as embedded:
        assert embedded.is_running()
        assert embedded.executable.name == embedded.release.kind.program
        await _push(embedded)
    assert not embedded.is_running()
    assert not (data_dir / "redis.sock").exists()
    with embedded:
        await _assert_kept(embedded)


async def test_acknowledged_writes_survive_a_kill_of_redis(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as embedded:
        await _push(embedded)
        store = open_store(embedded.url)
        await store.ping()
        killed = embedded.pid
        os.kill(killed, signal.SIGKILL)
        assert wait_for_end(killed, 10)
        assert not embedded.is_running()
        with pytest.raises(StoreUnavailableError, match=r"redis\.sock"):
            await store.ping()

        embedded.start()
        assert embedded.pid != killed
        await store.ping()
        await store.close()
        await _assert_kept(embedded)


def test_only_its_owner_reaches_it(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "data") as embedded:
        socket = tmp_path / "data" / "redis.sock"
        assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
        assert stat.S_IMODE(socket.stat().st_mode) == 0o700
        # A Ctrl-C goes to the foreground process group, and this is another session.
        assert os.getsid(embedded.pid) == embedded.pid != os.getsid(0)


def test_a_second_owner_is_refused(tmp_path: Path) -> None:
    assert lock_holder(tmp_path) is None
    with EmbeddedRedis(tmp_path) as first:
        with pytest.raises(BusyError) as caught:
            EmbeddedRedis(tmp_path).start()
        assert str(tmp_path) in caught.value.message
        assert str(os.getpid()) in caught.value.message
        assert lock_holder(tmp_path) == str(os.getpid())
        assert first.is_running()
    assert lock_holder(tmp_path) is None
    with EmbeddedRedis(tmp_path):
        pass


def _owner_of(data_dir: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", OWNER, str(data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


async def test_what_a_killed_owner_left_is_cleaned_up(tmp_path: Path) -> None:
    with _owner_of(tmp_path) as owner:
        assert owner.stdout is not None
        leftover = int(owner.stdout.readline())
        with pytest.raises(BusyError, match=str(owner.pid)):
            EmbeddedRedis(tmp_path).start()
        store = open_store(f"unix://{tmp_path}/redis.sock")
        await push(store.blobs, CONTENT, 4094)
        await store.close()
        owner.kill()
    os.kill(leftover, 0)

    with EmbeddedRedis(tmp_path) as embedded:
        assert embedded.pid != leftover
        assert wait_for_end(leftover, 0)
        await _assert_kept(embedded)


def test_a_leftover_that_hangs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labelcast_server.store.embedded.client._ANSWER_SECONDS", 0.2)
    with EmbeddedRedis(tmp_path) as hanging:
        os.kill(hanging.pid, signal.SIGSTOP)
        hanging._lock.release()
        try:
            says = rf"process {hanging.pid}\) left behind .* does not end; end it and start again$"
            with pytest.raises(BusyError, match=says):
                EmbeddedRedis(tmp_path).start()
        finally:
            os.kill(hanging.pid, signal.SIGKILL)
        assert wait_for_end(hanging.pid, 10)
        with EmbeddedRedis(tmp_path):
            pass


async def test_a_long_path_gets_its_socket_elsewhere(tmp_path: Path) -> None:
    data_dir = tmp_path / ("long" * 30) / 'with "quotes" and ümlauts %41'
    with EmbeddedRedis(data_dir) as embedded:
        socket = Path(embedded.url.removeprefix("unix://"))
        assert len(os.fsencode(socket)) < 104
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
        await _push(embedded)
        os.kill(embedded.pid, signal.SIGKILL)
        assert wait_for_end(embedded.pid, 10)
        embedded.start()
        again = Path(embedded.url.removeprefix("unix://"))
        await _assert_kept(embedded)
    assert not _any_exists(socket.parent, again.parent)


def _any_exists(*paths: Path) -> bool:
    return any(path.exists() for path in paths)


async def test_odd_characters_in_a_path(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "a b\"c'\\ü%41?#[*") as embedded:
        await _push(embedded)


def _append_only_file(data_dir: Path) -> Path:
    """The last one: Redis 7 keeps several in a directory."""
    files = [*(data_dir / "redis").rglob("appendonly.aof*")]
    return max(
        (file for file in files if file.is_file() and file.suffix != ".manifest"),
        key=lambda file: file.stat().st_size,
    )


async def test_half_a_command_at_the_end_is_dropped(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as embedded:
        await _push(embedded)
    with _append_only_file(tmp_path).open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\nhalf")
    with embedded:
        await _assert_kept(embedded)


def test_a_redis_that_dies_at_start_is_quoted(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as embedded:
        pass
    (tmp_path / "redis" / "appendonly.aof").unlink(missing_ok=True)
    _append_only_file_or_new(tmp_path).write_bytes(b"this is no append-only file\r\n" * 3)

    with pytest.raises(StoreUnavailableError, match=r"ended at start: .*file.*redis\.log"):
        embedded.start()
    assert not embedded.is_running()
    assert lock_holder(tmp_path) is None


def _append_only_file_or_new(data_dir: Path) -> Path:
    try:
        return _append_only_file(data_dir)
    except ValueError:
        return data_dir / "redis" / "appendonly.aof"


def test_a_data_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    says = "cannot be used .*; choose one that you may write"
    with pytest.raises(StoreUnavailableError, match=says):
        EmbeddedRedis(tmp_path / "file" / "below").start()


def test_before_start_there_is_no_url(tmp_path: Path) -> None:
    embedded = EmbeddedRedis(tmp_path)
    with pytest.raises(StoreUnavailableError, match="not started"):
        _ = embedded.url
    embedded.stop()


def test_nobody_waits_for_a_server_that_could_not_be_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Longer than a test may take.
    embedded = EmbeddedRedis(tmp_path / "data", stop_timeout_seconds=3600)
    embedded.start()
    shutil.rmtree(tmp_path / "data")
    embedded.stop()
    assert not embedded.is_running()
    assert not caplog.records


def test_a_forked_child_cannot_stop_it(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as embedded:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                embedded.stop()
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert embedded.is_running()


def test_the_lock_is_taken_once(tmp_path: Path) -> None:
    lock = DataDirLock(tmp_path)
    lock.acquire()
    lock.acquire()
    assert lock.held
    lock.release()
    lock.release()
    assert not lock.held


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
@example('a "b" \\x41 \n ü')
def test_the_socket_can_be_read_back_from_the_configuration(name: str) -> None:
    socket = Path("/data") / name.lstrip("/")
    text = config_text(directory=Path("/data"), socket=socket, max_memory_bytes=1)
    assert socket_in(text) == socket
    assert socket_in("port 0\n") is None


def test_a_directory_without_locks_is_not_called_busy(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_locks(monkeypatch, below=tmp_path)
    with pytest.raises(StoreUnavailableError, match=r"without locks .* another one$"):
        DataDirLock(tmp_path).acquire()
    with pytest.raises(StoreUnavailableError, match=r"without locks .* another one$"):
        lock_holder(tmp_path)
    assert [finding.level for finding in check_data_dir(tmp_path)] == ["error", "ok"]
    elsewhere = DataDirLock(tmp_path_factory.mktemp("elsewhere"))
    elsewhere.acquire()
    elsewhere.release()
