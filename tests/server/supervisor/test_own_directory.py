"""Directories of one run, which outlive nobody for long."""

import multiprocessing
import os
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from labelcast.errors import LabelcastError
from labelcast_server.supervisor.own_directory import own_directory, run_directory


def hold(parent: Path, told: Connection) -> None:
    """Have a directory until killed."""
    with own_directory(parent, "chunks-") as own:
        (own / "content").write_text("labels")
        told.send(own)
        told.recv()


def test_it_is_private_and_removed_at_the_end(tmp_path: Path) -> None:
    with own_directory(tmp_path / "cache", "chunks-") as own:
        assert own.parent == tmp_path / "cache"
        assert own.name.startswith("chunks-")
        assert own.stat().st_mode & 0o777 == 0o700
        (own / "content").write_text("labels")
    assert list((tmp_path / "cache").iterdir()) == []


def test_one_of_a_living_service_stays_and_one_of_a_dead_goes(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=hold, args=(tmp_path, theirs))
    process.start()
    try:
        assert ours.poll(60)
        held = ours.recv()
        with own_directory(tmp_path, "chunks-"):
            assert (held / "content").exists()
    finally:
        process.kill()
        process.join()
    assert held.exists()
    with own_directory(tmp_path, "chunks-") as own:
        assert list(tmp_path.iterdir()) == [own]


def test_what_others_keep_there_stays(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("theirs")
    parent = tmp_path / "shared"
    parent.mkdir()
    (parent / "chunks-link").symlink_to(elsewhere)
    (parent / "chunks-file").write_text("theirs")
    (parent / "other").mkdir()
    with own_directory(parent, "chunks-"):
        pass
    assert {path.name for path in parent.iterdir()} == {"chunks-link", "chunks-file", "other"}
    assert (elsewhere / "precious").exists()


def test_a_place_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(LabelcastError, match="cannot use the directory"),
        own_directory(tmp_path / "file", "chunks-"),
    ):
        pass


def test_a_socket_has_room_for_its_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with run_directory() as own:
        assert len(os.fsencode(own / "decoder-255.sock")) < 104
        assert own.match("labelcast-*")
