"""Files appear whole or not at all, are on the disk when they appear, and leave nothing behind."""

import errno
import hashlib
import os
import stat
import threading
from pathlib import Path

import pytest

from labelcast.errors import StorageError
from labelcast.files import file_digest, sync_file, whole_file, write_whole
from tests.factories.odd_file_systems import without_fsync

OLD, NEW = b"old" * 1000, b"new" * 100_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "labels.json"
    path.write_bytes(OLD)
    return path


def test_content_replaces_what_was_there(path: Path) -> None:
    write_whole(path, NEW)
    assert path.read_bytes() == NEW
    assert list(path.parent.iterdir()) == [path]


def test_others_may_read_what_was_written_as_any_file(path: Path) -> None:
    usual = path.with_name("usual")
    usual.write_bytes(NEW)
    write_whole(path, NEW)
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)


def write_half(path: Path) -> None:
    with whole_file(path) as partial:
        partial.write_bytes(NEW[:10])
        raise ValueError("half")


def test_a_block_that_fails_changes_nothing(path: Path) -> None:
    with pytest.raises(ValueError, match="half"):
        write_half(path)
    with pytest.raises(OSError, match="No such file"), whole_file(path):
        pass
    assert path.read_bytes() == OLD
    assert list(path.parent.iterdir()) == [path]


def test_content_is_on_the_disk_before_its_name_and_the_name_before_the_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, synced = os.fsync, list[tuple[bool, bytes]]()

    def noting(descriptor: int) -> None:
        fsync(descriptor)
        synced.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.read_bytes()))

    monkeypatch.setattr(os, "fsync", noting)
    write_whole(path, NEW)
    assert synced == [(False, OLD), (True, NEW)]


def test_readers_see_one_or_the_other_while_threads_write(path: Path) -> None:
    contents = [bytes([number]) * 100_000 for number in range(4)]
    failures: list[str] = []

    def write(content: bytes) -> None:
        try:
            for _ in range(20):
                write_whole(path, content)
        except OSError as error:
            failures.append(repr(error))

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert path.read_bytes() in [OLD, *contents]
    for thread in threads:
        thread.join(100)
    assert failures == []
    assert list(path.parent.iterdir()) == [path]


def test_a_link_to_another_file_may_take_the_name(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(NEW)
    for _ in range(2):
        with whole_file(path) as partial:
            os.link(other, partial)
    assert path.samefile(other)
    assert sorted(path.parent.iterdir()) == [path, other]


def test_an_open_file_is_flushed(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")
        sync_file(file)
        assert path.read_bytes() == OLD + b"more"


def test_digest_of_a_file(path: Path) -> None:
    assert file_digest(path) == "sha256:" + hashlib.sha256(OLD).hexdigest()


NO_FSYNC = [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP]


@pytest.mark.parametrize("code", NO_FSYNC)
def test_a_file_system_without_fsync_is_told_and_another_one_works(
    code: int, path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_fsync(monkeypatch, code, below=path.parent)
    with pytest.raises(StorageError, match=f"^{path} lies on a file system .* another one$"):
        write_whole(path, NEW)
    with path.open("ab") as file, pytest.raises(StorageError, match=f"^{path} lies on"):
        sync_file(file)
    assert path.read_bytes() == OLD
    assert list(path.parent.iterdir()) == [path]
    write_whole(tmp_path_factory.mktemp("elsewhere") / "labels.json", NEW)


@pytest.mark.parametrize("code", NO_FSYNC)
def test_directories_need_no_fsync(code: int, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_fsync(monkeypatch, code, below=path.parent, directories_only=True)
    write_whole(path, NEW)
    assert path.read_bytes() == NEW


@pytest.mark.parametrize("directories_only", [False, True])
def test_another_failure_names_the_path(
    path: Path, monkeypatch: pytest.MonkeyPatch, directories_only: bool
) -> None:
    without_fsync(monkeypatch, errno.EIO, below=path.parent, directories_only=directories_only)
    with pytest.raises(OSError, match="Input/output error") as caught:
        write_whole(path, NEW)
    assert caught.value.filename == str(path.parent if directories_only else path)
