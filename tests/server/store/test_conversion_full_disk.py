"""No room for the copy that a conversion keeps: nothing is lost, and it works once there is."""

import shutil
from pathlib import Path

import pytest

from labelcast.errors import StoreFullError
from labelcast_server.store.disk import Disk
from labelcast_server.store.embedded.conversion import Conversion, writer_of
from labelcast_server.store.embedded.data_mark import read_mark
from labelcast_server.store.embedded.process import EmbeddedRedis
from labelcast_server.store.embedded.release import ServerKind, ServerRelease
from tests.factories.tiny_disk import tiny_disk
from tests.server.store.server_data import (
    REDIS_6,
    assert_settled,
    bundled,
    contents,
    put,
)


def test_without_room_for_the_copy_nothing_happens(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", 16) as disk:
        data_dir = disk.path / "data"
        directory = put("redis-6.2", data_dir)
        with (directory / "appendonly.aof").open("ab") as file:
            file.write(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%s\r\n" % (2**22, bytes(2**22)))
        before = contents(directory)
        disk.fill(leave=2**22)
        with pytest.raises(StoreFullError, match="free disk space, or move the data") as caught:
            EmbeddedRedis(data_dir, disk_reserve_bytes=0).start()
        assert "\n" not in caught.value.message
        assert contents(directory) == before
        assert [*data_dir.glob("redis.*")] == []
        assert writer_of(directory) == ServerRelease(ServerKind.REDIS, (6, 2, 0))
        # What the message says: a larger disk, or this one with more room.
        larger = tmp_path / "larger"
        shutil.copytree(data_dir, larger)
        disk.free()
        for place in (larger, data_dir):
            with EmbeddedRedis(place, disk_reserve_bytes=0):
                pass
            assert_settled(place)


def test_a_disk_that_fills_up_while_copying(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", 16) as disk:
        directory = put("redis-6.2", disk.path / "data")
        disk.fill(leave=512)
        before = contents(directory)
        # As if there had been room when it was looked at.
        unbounded = Disk(tmp_path, 0)
        with pytest.raises(StoreFullError):
            Conversion(directory).begin(REDIS_6, bundled(), unbounded)
        assert contents(directory) == before
        assert read_mark(directory) is None
        assert [*directory.parent.glob("redis.*")] == []
