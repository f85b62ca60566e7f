"""The directory of a user's caches, which nobody removes."""

import os
from pathlib import Path

import pytest

from labelcast.errors import LabelcastError
from labelcast_server.supervisor.own_directory import kept_directory


def test_it_is_private_and_found_again_with_what_it_holds(tmp_path: Path) -> None:
    own = kept_directory(tmp_path / "cache")
    assert own.stat().st_mode & 0o777 == 0o700
    (own / "content").write_text("labels")
    own.chmod(0o777)
    assert kept_directory(tmp_path / "cache") == own
    assert own.stat().st_mode & 0o777 == 0o700
    assert (own / "content").exists()


def test_a_place_that_somebody_prepared_is_refused(tmp_path: Path) -> None:
    own = kept_directory(tmp_path)
    own.rmdir()
    (tmp_path / "elsewhere").mkdir()
    own.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LabelcastError, match="LABELCAST_CACHE_DIR"):
        kept_directory(tmp_path)
    own.unlink()
    own.write_text("in the way")
    with pytest.raises(LabelcastError, match="cannot use the directory"):
        kept_directory(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories away")
def test_another_users_is_refused(tmp_path: Path) -> None:
    os.chown(kept_directory(tmp_path), 65_533, 65_533)
    with pytest.raises(LabelcastError, match="LABELCAST_CACHE_DIR"):
        kept_directory(tmp_path)


def test_a_place_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LabelcastError, match="cannot use the directory"):
        kept_directory(tmp_path / "file")
