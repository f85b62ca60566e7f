"""What the files of a server and the mark beside them tell about the server."""

import json
from pathlib import Path

import pytest

from labelcast.errors import StoreUnavailableError
from labelcast_server.store.embedded.conversion import writer_of
from labelcast_server.store.embedded.data_files import data_bytes, writer_by_files
from labelcast_server.store.embedded.data_mark import DataMark, read_mark, write_mark
from labelcast_server.store.embedded.release import ServerRelease
from tests.server.store.server_data import GOLDEN, WRITERS, put

VALKEY = ServerRelease.parse("valkey", "9.1.2")
REDIS = ServerRelease.parse("redis", "7.0.15")


@pytest.mark.parametrize("name", WRITERS)
def test_files_tell_the_oldest_writer(name: str) -> None:
    assert str(writer_by_files(GOLDEN / name)) == WRITERS[name]
    assert data_bytes(GOLDEN / name) > 400


def test_without_data_there_is_no_writer(tmp_path: Path) -> None:
    assert writer_of(tmp_path / "not made") is None
    (tmp_path / "appendonly.aof").touch()
    assert writer_of(tmp_path) is None
    write_mark(tmp_path, DataMark(VALKEY))
    assert writer_of(tmp_path) is None


def test_a_damaged_header_tells_the_least(tmp_path: Path) -> None:
    whole = (GOLDEN / "redis-6.2-rewritten" / "appendonly.aof").read_bytes()
    for damaged in (whole[:9], whole.replace(b"6.2.14", b"6.2.xy"), b"x" + whole[1:]):
        (tmp_path / "appendonly.aof").write_bytes(damaged)
        assert str(writer_of(tmp_path)) == "Redis 6.2.0"


def test_the_mark_tells_more_than_files(tmp_path: Path) -> None:
    directory = put("redis-7.0", tmp_path)
    write_mark(directory, DataMark(VALKEY))
    assert writer_of(directory) == VALKEY
    # Unless a later server than the mark's has been there.
    other = put("valkey-9.1", tmp_path / "other")
    write_mark(other, DataMark(REDIS))
    assert writer_of(other) == VALKEY


def test_an_older_service_knows_no_marks(tmp_path: Path) -> None:
    directory = put("redis-6.2", tmp_path)
    write_mark(directory, DataMark(VALKEY))
    assert str(writer_of(directory)) == "Redis 6.2.0"


@pytest.mark.parametrize("before", [None, REDIS])
def test_a_mark_is_read_as_it_was_written(tmp_path: Path, before: ServerRelease | None) -> None:
    mark = DataMark(VALKEY, converting_from=before)
    write_mark(tmp_path, mark)
    assert read_mark(tmp_path) == mark
    inode = (tmp_path / "server.json").stat().st_ino
    write_mark(tmp_path, mark)
    assert (tmp_path / "server.json").stat().st_ino == inode


def test_the_mark_is_spelled_as_it_always_was(tmp_path: Path) -> None:
    write_mark(tmp_path, DataMark(VALKEY, converting_from=REDIS))
    assert json.loads((tmp_path / "server.json").read_text()) == {
        "server": "valkey",
        "version": "9.1.2",
        "converting_from": {"server": "redis", "version": "7.0.15"},
    }


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '"valkey"',
        '{"server": "valkey"}',
        '{"server": "keydb", "version": "9.1.2"}',
        '{"server": "valkey", "version": "nine"}',
        '{"server": "valkey", "version": "9.1.2", "converting_from": {}}',
        "\ufeff{}",
    ],
)
def test_a_mark_that_says_nothing_can_be_deleted(tmp_path: Path, content: str) -> None:
    directory = put("valkey-9.1", tmp_path)
    (directory / "server.json").write_text(content)
    with pytest.raises(StoreUnavailableError, match="delete it to go by the files") as caught:
        writer_of(directory)
    assert "\n" not in caught.value.message
    (directory / "server.json").unlink()
    assert writer_of(directory) == VALKEY


@pytest.mark.parametrize("moved", ["appendonly.aof", "appendonlydir"])
def test_data_of_two_servers(tmp_path: Path, moved: str) -> None:
    """Redis 6.2 was started on what a later server wrote, showed no keys, and got new ones."""
    directory = put("redis-6.2-then-7.0", tmp_path)
    (directory / "appendonly.aof").touch()
    assert str(writer_of(directory)) == "Redis 7.0.0"
    (directory / "appendonly.aof").write_bytes(b"*1\r\n$4\r\nPING\r\n")
    with pytest.raises(
        StoreUnavailableError, match="move one of the two out of there and start again"
    ) as caught:
        writer_of(directory)
    assert "\n" not in caught.value.message

    (directory / moved).rename(tmp_path / moved)
    kept = "Redis 7.0.0" if moved == "appendonly.aof" else "Redis 6.2.0"
    assert str(writer_of(directory)) == kept


def test_a_move_that_was_cut_short_is_no_second_server(tmp_path: Path) -> None:
    directory = put("redis-6.2-then-7.0", tmp_path)
    (directory / "appendonlydir" / "appendonly.aof").rename(directory / "appendonly.aof")
    (directory / "appendonlydir" / "appendonly.aof.1.incr.aof").unlink()
    (directory / "appendonlydir" / "appendonly.aof.manifest").write_text(
        "file appendonly.aof seq 1 type b\n"
    )
    assert str(writer_of(directory)) == "Redis 7.0.0"
