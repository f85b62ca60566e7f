import os
import struct
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from labelcast.errors import LabelFileError
from labelcast_producers.torchfile import (
    TensorInfo,
    open_torch_file,
    read_torch_file,
    read_torch_structure,
)
from tests.producers.torchfile.archives import program, same, tensor, write_archive, zip_bytes

VALUE = [torch.arange(40).float(), torch.ones(3, dtype=torch.bool), np.int64(3), [0.5, "text"]]
EXPECTED = [np.arange(40, dtype=np.float32), np.ones(3, bool), np.int64(3), [0.5, "text"]]
SHAPES = [
    TensorInfo(np.dtype("f4"), (40,), "float32"),
    TensorInfo(np.dtype("?"), (3,), "bool"),
    *EXPECTED[2:],
]


def refused(path: Path, match: str) -> None:
    for read in (read_torch_file, read_torch_structure, open_torch_file):
        with pytest.raises(LabelFileError, match=match) as caught:
            read(path)
        assert str(path) in caught.value.message
        assert "\n" not in caught.value.message


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.tar"


@pytest.fixture
def content(path: Path) -> bytes:
    torch.save(VALUE, path)
    return path.read_bytes()


def test_every_truncation_is_refused(path: Path, content: bytes) -> None:
    for length in {*range(0, len(content), 7), *range(len(content) - 100, len(content))}:
        path.write_bytes(content[:length])
        refused(path, "damaged|no torch.save file")


def test_flipped_bits_are_refused_or_harmless(path: Path, content: bytes) -> None:
    positions = np.random.default_rng(0).choice(len(content) * 8, 600, replace=False)
    outcomes = set()
    for position in positions.tolist():
        changed = bytearray(content)
        changed[position // 8] ^= 1 << position % 8
        path.write_bytes(changed)
        try:
            assert same(read_torch_file(path, verify=True), EXPECTED)
            outcomes.add("harmless")
        except LabelFileError:
            outcomes.add("refused")
        # Without checksums values may differ, shapes and types may not.
        with suppress(LabelFileError):
            assert read_torch_structure(path) == SHAPES
        with suppress(LabelFileError):
            found = read_torch_file(path)
            assert [part.shape for part in found[:2]] == [(40,), (3,)]
            assert found[2:] == EXPECTED[2:]
    assert outcomes == {"harmless", "refused"}


def test_bytes_in_front_and_behind(path: Path, content: bytes) -> None:
    path.write_bytes(b"MZ" + content)
    refused(path, "no torch.save file")
    path.write_bytes(content + bytes(70_000))
    refused(path, "damaged")


def test_checksums_of_values_on_request(path: Path, content: bytes) -> None:
    changed = bytearray(content)
    changed[content.index(np.arange(40, dtype="<f4").tobytes()) + 9] ^= 1
    path.write_bytes(changed)
    assert read_torch_file(path)[0].shape == (40,)
    with pytest.raises(LabelFileError, match="the checksum of data/0 is wrong"):
        read_torch_file(path, verify=True)
    with (
        open_torch_file(path, verify=True) as file,
        pytest.raises(LabelFileError, match="checksum"),
    ):
        file.tree[0].read()


def test_checksum_of_the_pickle_always(path: Path, content: bytes) -> None:
    path.write_bytes(content.replace(b"text", b"taxt"))
    refused(path, "the checksum of data.pkl is wrong")


def test_file_cut_off_while_it_is_open(path: Path, content: bytes) -> None:
    with open_torch_file(path) as file:
        for length in (content.index(np.arange(40, dtype="<f4").tobytes()) + 9, 40):
            os.truncate(path, length)
            with pytest.raises(LabelFileError, match=r"it ends (with|bef)"):
                file.tree[0].read()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "no torch.save file"),
        (b"PK\x03\x04", "damaged"),
        (bytes(1000), "no torch.save file"),
        (b"PK\x05\x06" + bytes(18), "no torch.save file"),
        (zip_bytes(other=b"N."), "0 entries called data.pkl"),
        (zip_bytes(deeper_data__pkl=b"N."), "0 entries called data.pkl"),
        (zip_bytes(data__pkl=b""), "damaged"),
        (zip_bytes(data__pkl=b"N"), "ends early"),
        (zip_bytes(data__pkl=b"N.N."), "does not end"),
        (zip_bytes(data__pkl=b"NN."), "does not end"),
        (zip_bytes(data__pkl=b"(N."), "does not end"),
        (zip_bytes(data__pkl=b"\x80\x09N."), "protocol"),
        (zip_bytes(data__pkl=b"\xff."), "mean nothing"),
        (zip_bytes(data__pkl=b"X\xff\xff\xff\xffN."), "ends early"),
        (zip_bytes(data__pkl=b"\x8d" + b"\xff" * 8 + b"N."), "ends early"),
        (zip_bytes(data__pkl=b"X\x01\x00\x00\x00\xff."), "UTF-8"),
        (zip_bytes(data__pkl=b"cos"), "without an end"),
        (zip_bytes(data__pkl=b"h\x00."), "has not defined"),
        (zip_bytes(data__pkl=b"N.", byteorder=b"big"), "big-endian"),
        (zip_bytes(data__pkl=b"N.", byteorder=b"a long story"), "big-endian"),
        (zip_bytes(zipfile.ZIP_DEFLATED, data__pkl=b"N." * 100), "compressed"),
        (zip_bytes(zipfile.ZIP_LZMA, data__pkl=b"N."), "compressed"),
    ],
)
def test_other_archives(path: Path, content: bytes, match: str) -> None:
    path.write_bytes(content)
    refused(path, match)


def test_a_bomb_of_deflated_zeros_is_not_inflated(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", program(tensor()))
        archive.writestr("a/data/0", bytes(2**26), zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**17
    refused(path, "compressed")


def test_one_entry_under_many_names(path: Path) -> None:
    names = [f"{number:03}" for number in range(500)]
    write_archive(path, program(tensor()), {name: bytes(16) for name in names})
    content = path.read_bytes()
    # All of them where the first one is, which is made as large as it can be.
    directory = content.index(b"PK\x01\x02")
    rows = bytearray(content[directory:])
    at = 0
    while (at := rows.find(b"PK\x01\x02", at)) >= 0:
        rows[at + 42 : at + 46] = struct.pack("<I", 0)
        rows[at + 20 : at + 28] = struct.pack("<II", 20_000, 20_000)
        at += 4
    path.write_bytes(content[:directory] + rows)
    refused(path, "larger than itself")


def test_entries_of_the_same_name(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"N.")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a/data.pkl", b"K\x01.")
    refused(path, "the same name")
    path.write_bytes(zip_bytes(data__pkl=b"N."))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("b/data.pkl", b"N.")
    refused(path, "2 entries called data.pkl")


def test_encrypted_entries(path: Path) -> None:
    content = bytearray(zip_bytes(data__pkl=b"N."))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    refused(path, "encrypted")


def test_missing_storage(path: Path) -> None:
    write_archive(path, program(tensor()))
    refused(path, "it has no data/0")


def test_files_of_before_the_zip_format(path: Path) -> None:
    torch.save(VALUE, path, _use_new_zipfile_serialization=False)
    refused(path, "before 1.6.*save it again")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    refused(tmp_path / "none.tar", "No such file")
    refused(tmp_path, "is no file")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "is no file")


def test_errors_of_open_files_close_them(path: Path, content: bytes) -> None:
    with pytest.raises(ZeroDivisionError), open_torch_file(path):
        raise ZeroDivisionError
    path.write_bytes(zip_bytes(data__pkl=b"N"))
    before = set(Path("/proc/self/fd").iterdir()) if Path("/proc/self/fd").exists() else set()
    for _ in range(5):
        with pytest.raises(LabelFileError):
            open_torch_file(path)
    after = set(Path("/proc/self/fd").iterdir()) if before else set()
    assert len(after) == len(before)
