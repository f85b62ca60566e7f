"""Data that go from one server to another, by real servers: whole, refused and failed."""

import logging
from pathlib import Path

import pytest

from labelcast.errors import StoreUnavailableError
from labelcast_server.store.disk import Disk
from labelcast_server.store.embedded.conversion import Conversion
from labelcast_server.store.embedded.data_mark import DataMark, read_mark
from labelcast_server.store.embedded.process import EmbeddedRedis
from labelcast_server.store.embedded.release import ServerRelease
from tests.factories.servers import only_on_path, program
from tests.server.store.server_data import (
    GOLDEN,
    OF_REDIS,
    REDIS_6,
    WRITERS,
    assert_complete,
    assert_settled,
    bundled,
    contents,
    put,
)


@pytest.fixture(autouse=True)
def only_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Valkey alone, whatever is on PATH."""
    monkeypatch.setenv("PATH", "/nowhere")


@pytest.mark.parametrize("name", WRITERS)
def test_valkey_opens_what_there_is(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    directory = put(name, tmp_path)
    with EmbeddedRedis(tmp_path) as embedded:
        assert_complete(embedded, name)
    assert_settled(tmp_path)
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    if name in OF_REDIS:
        assert told[0].startswith(f"converting {directory} from {WRITERS[name]} to {bundled()}")
        assert str(tmp_path / "redis.copy") in told[0]
        assert told[1:] == [f"{directory} is converted to {bundled()}"]
    else:
        assert told == []
    caplog.clear()
    with EmbeddedRedis(tmp_path) as embedded:
        assert_complete(embedded, name)
    assert caplog.records == []


def test_new_data_are_marked_before_the_server_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_on_path(monkeypatch, tmp_path)
    program(tmp_path, "Valkey 9.1.2", does="cp server.json seen.json; exit 1")
    with pytest.raises(StoreUnavailableError, match="embedded valkey-server ended at start"):
        EmbeddedRedis(tmp_path / "data").start()
    directory = tmp_path / "data" / "redis"
    mark = DataMark(ServerRelease.parse("valkey", "9.1.2"))
    assert read_mark(directory) == mark
    assert (directory / "seen.json").read_bytes() == (directory / "server.json").read_bytes()


@pytest.mark.parametrize("at_hand", ["Redis 6.2.14", "Redis 7.0.15", "Redis 8.2.0", "Valkey 8.1.1"])
def test_no_other_server_touches_data_of_valkey(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_hand: str
) -> None:
    with EmbeddedRedis(tmp_path / "data") as embedded:
        ours = embedded.release
    directory = tmp_path / "data" / "redis"
    before = contents(directory)
    with monkeypatch.context() as other:
        only_on_path(other, tmp_path)
        program(tmp_path, at_hand, does=f"touch {tmp_path}/started")
        with pytest.raises(StoreUnavailableError, match=f"data of {ours}") as caught:
            EmbeddedRedis(tmp_path / "data").start()
    assert "\n" not in caught.value.message
    assert not (tmp_path / "started").exists()
    assert contents(directory) == before
    # With both at hand, the one whose data they are is started.
    monkeypatch.setenv("PATH", str(tmp_path))
    with EmbeddedRedis(tmp_path / "data") as embedded:
        assert embedded.release == ours


@pytest.mark.parametrize("name", ["redis-6.2", "redis-7.0-rewritten"])
def test_a_conversion_that_fails_leaves_the_data_as_they_were(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    directory = put(name, tmp_path / "data")
    harm = "echo harmed > appendonly.aof; rm -f appendonlydir/*; echo 'no such format' >> redis.log"
    with monkeypatch.context() as other:
        only_on_path(other, tmp_path)
        program(tmp_path, "Valkey 9.1.2", does=f"{harm}; exit 1")
        for _ in range(2):
            with pytest.raises(StoreUnavailableError, match="ended at start: no such format"):
                EmbeddedRedis(tmp_path / "data").start()
            assert contents(directory) == contents(GOLDEN / name)
            assert read_mark(directory) is None
            assert [*(tmp_path / "data").glob("redis.*")] == []
            # Where the message says that there is more.
            assert "no such format" in (directory / "redis.log").read_text()
    assert "is as it was before" in caplog.text
    with EmbeddedRedis(tmp_path / "data") as embedded:
        assert_complete(embedded, name)


def test_what_an_older_service_wrote_meanwhile_is_kept(tmp_path: Path) -> None:
    """A conversion is killed, and a service that knows no marks goes on with the data."""
    directory = put("redis-6.2", tmp_path)
    Conversion(directory).begin(REDIS_6, bundled(), Disk(tmp_path, 0))
    with (directory / "appendonly.aof").open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$5\r\nafter\r\n$7\r\nrewrite\r\n")
    with EmbeddedRedis(tmp_path) as embedded:
        assert_complete(embedded, "redis-6.2-rewritten")
    assert_settled(tmp_path)
