"""One process writes a file of labels at a time; many may, where they share it."""

import errno
import fcntl
from pathlib import Path

import pytest

from labelcast.errors import BusyError
from labelcast_producers.dense.sole_writer import claim


def test_a_file_belongs_to_whom_claimed_it_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "rows.bin"
    with path.open("ab") as first:
        claim(first)
        second = path.open("ab")
        with pytest.raises(BusyError, match=r"writing .*rows\.bin: wait until it is done, or give"):
            claim(second)
        assert second.closed
    with path.open("ab") as third:
        claim(third)


def test_those_who_share_a_file_keep_others_away(tmp_path: Path) -> None:
    path = tmp_path / "rows.bin"
    with path.open("ab") as first, path.open("ab") as second:
        claim(first, shared=True)
        claim(second, shared=True)
        with pytest.raises(BusyError):
            claim(path.open("ab"))


def test_file_systems_without_locks_are_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (tmp_path / "rows.bin").open("ab") as file:
        claim(file)
        assert file.write(b"row") == 3
