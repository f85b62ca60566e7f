"""FORMAT.md is normative: its worked example must be what the code reads and writes."""

import re
from importlib import resources

import numpy as np
import pytest

from labelcast.codec import VqaeCodec, pack_codes, read_artifact, write_artifact
from labelcast.codec.artifact import CODECS
from labelcast.label_set import chunk_checksum

FORMAT = resources.files("labelcast.codec").joinpath("FORMAT.md").read_text("utf-8")


def _hex(text: str) -> bytes:
    return bytes.fromhex(text)


@pytest.fixture(scope="module")
def artifact() -> bytes:
    dump = re.search(r"```hex\n(.*?)```", FORMAT, re.DOTALL)
    assert dump is not None
    lines = [line.split("  ")[1] for line in dump[1].splitlines()]
    return b"".join(_hex(line) for line in lines)


@pytest.fixture(scope="module")
def example_rows() -> dict[bytes, list[float]]:
    table = re.findall(r"^\| `([0-9a-f ]+)` \| ([-0-9., ]+) \|$", FORMAT, re.MULTILINE)
    return {_hex(row): [float(value) for value in label.split(",")] for row, label in table}


def test_the_artifact_decodes_the_rows_as_written(
    artifact: bytes, example_rows: dict[bytes, list[float]]
) -> None:
    codec = read_artifact(artifact)
    assert len(example_rows) == 2
    for row, label in example_rows.items():
        packed = np.frombuffer(row, dtype=np.uint8)[None]
        np.testing.assert_array_equal(codec.decode(packed), np.array([label], dtype=np.float32))


def test_the_rows_are_packed_as_written(example_rows: dict[bytes, list[float]]) -> None:
    packed = pack_codes(np.array([[4, 1, 2], [0, 3, 4]]), bits=3)
    assert [row.tobytes() for row in packed] == list(example_rows)


def test_the_artifact_is_written_as_printed(
    artifact: bytes, example_rows: dict[bytes, list[float]]
) -> None:
    codec = read_artifact(artifact)
    assert isinstance(codec, VqaeCodec)
    first = np.frombuffer(next(iter(example_rows)), dtype=np.uint8)[None]
    assert write_artifact(codec, first) == artifact


def test_the_codecs_are_those_listed() -> None:
    listed = re.search(r"^\| `codec` \| (.*) \|$", FORMAT, re.MULTILINE)
    assert listed is not None
    assert set(re.findall("`(.*?)`", listed[1])) == set(CODECS)


def test_the_chunk_index_is_as_printed(example_rows: dict[bytes, list[float]]) -> None:
    printed = re.search(r"the chunk index `([0-9a-f ]+)`", FORMAT)
    assert printed is not None
    checksum = chunk_checksum(b"".join(example_rows))
    assert _hex(printed[1]) == checksum.to_bytes(4, "little")
