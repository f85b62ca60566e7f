"""Advice in messages on files that torch wrote: what causes each, and that it works."""

import bz2
import gzip
import lzma
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelcast_producers.torchfile import Limits, read_torch_file
from tests.factories.advice import Case, try_advice
from tests.producers.torchfile.archives import FOUR_FLOATS, program, same, tensor, write_archive

ROWS = torch.arange(12.0).reshape(3, 4)
EXPECTED = ROWS.numpy()
DEFAULT = Limits()


def saved(at: Path, value: object, limits: Limits = DEFAULT, **options: Any) -> object:
    """What labelcast reads of what torch saved."""
    torch.save(value, at / "a.pt", **options)
    return read_torch_file(at / "a.pt", limits=limits)


def comes_back(at: Path, value: object, expected: object) -> object:
    """Following advice is to keep what was saved."""
    found = saved(at, value)
    assert same(found, expected)
    return found


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def in_parts(at: Path, limits: Limits) -> None:
    for row in ROWS:
        assert same(saved(at, [row.clone()], limits), [row.numpy()])


def loaded_and_saved(at: Path) -> None:
    comes_back(at, torch.load(at / "a.pt", weights_only=True), EXPECTED)


def packed(at: Path, pack: Callable[[bytes], bytes]) -> object:
    torch.save(ROWS, at / "a.pt")
    (at / "a.pt").write_bytes(pack((at / "a.pt").read_bytes()))
    return read_torch_file(at / "a.pt")


def unpacked(at: Path, unpack: Callable[[bytes], bytes]) -> None:
    (at / "a.pt").write_bytes(unpack((at / "a.pt").read_bytes()))
    assert same(read_torch_file(at / "a.pt"), EXPECTED)


def cut(at: Path) -> object:
    torch.save(ROWS, at / "a.pt")
    content = (at / "a.pt").read_bytes()
    (at / "a.pt").write_bytes(content[:-9])
    return read_torch_file(at / "a.pt")


def of_byte_order(at: Path, order: bytes) -> object:
    """A record of torch's since 2.1; no machine here writes another."""
    path = write_archive(at / "a.pt", program(tensor()), {"0": FOUR_FLOATS}, byteorder=order)
    return read_torch_file(path)


PARTS = "more than labelcast opens; save it in smaller parts"
AS_DATA = (
    "labelcast reads data alone: save it again as tensors, numbers, strings, lists and dictionaries"
)
CLONE = "more than labelcast opens; save tensor.clone() in place of each"
# One row lies within these, three do not.
ENTRIES, OBJECTS = Limits(max_entries=7), Limits(max_objects=12)
VALUES, PICKLE = Limits(max_values=2), Limits(max_pickle_bytes=200)

CASES: list[Case[Path]] = [
    *(
        Case[Path](
            PARTS,
            lambda at, limits=limits: saved(at, [row.clone() for row in ROWS], limits),  # type: ignore[misc]
            lambda at, limits=limits: in_parts(at, limits),  # type: ignore[misc]
        )
        for limits in (ENTRIES, OBJECTS, VALUES, PICKLE)
    ),
    Case(
        CLONE,
        lambda at: saved(at, torch.ones(1, 4).expand(100_000, 4)),
        lambda at: comes_back(
            at, torch.ones(1, 4).expand(100_000, 4).clone(), np.ones((100_000, 4), np.float32)
        ),
    ),
    Case(
        CLONE,
        lambda at: saved(at, list(torch.zeros(30_000).expand(40, 30_000))),
        lambda at: comes_back(
            at,
            [row.clone() for row in torch.zeros(30_000).expand(40, 30_000)],
            [np.zeros(30_000, np.float32)] * 40,
        ),
    ),
    Case(
        AS_DATA,
        lambda at: saved(at, torch.nn.Parameter(ROWS)),
        lambda at: comes_back(at, torch.nn.Parameter(ROWS).detach(), EXPECTED),
    ),
    Case(
        AS_DATA,
        lambda at: saved(at, {"labels": ROWS, "images": Path("train")}),
        lambda at: comes_back(
            at, {"labels": ROWS, "images": "train"}, {"labels": EXPECTED, "images": "train"}
        ),
    ),
    Case(
        AS_DATA,
        lambda at: saved(at, [{1, 2}]),
        lambda at: comes_back(at, [sorted({1, 2})], [[1, 2]]),
    ),
    Case(
        "do not need; save it again as these, with torch's own pickle protocol",
        lambda at: saved(at, [{1, 2}], pickle_protocol=4),
        lambda at: comes_back(at, [sorted({1, 2})], [[1, 2]]),
    ),
    Case(
        "do not need; save it again as these, with torch's own pickle protocol",
        lambda at: saved(at, [1, "two"], pickle_protocol=0),
        lambda at: comes_back(at, [1, "two"], [1, "two"]),
    ),
    Case(
        "fetch or write it again",
        cut,
        lambda at: comes_back(at, ROWS, EXPECTED),
    ),
    Case(
        "which is not numbers; save numbers only",
        lambda at: saved(at, np.array(["cat", "dog"])),
        lambda at: comes_back(at, np.array([0, 1]), np.array([0, 1])),
    ),
    Case(
        "holds big-endian numpy data; save it again as little-endian",
        lambda at: saved(at, EXPECTED.astype(">f4")),
        lambda at: comes_back(at, EXPECTED.astype(">f4").astype("<f4"), EXPECTED),
    ),
    Case(
        "save tensors, arrays, numbers, strings, lists and dictionaries",
        lambda at: saved(at, {"labels": ROWS, "made_by": OrderedDict}),
        lambda at: comes_back(
            at, {"labels": ROWS, "made_by": ["us", 1]}, {"labels": EXPECTED, "made_by": ["us", 1]}
        ),
    ),
    Case(
        "or one that holds itself; save it flatter",
        lambda at: saved(at, nested(65)),
        lambda at: comes_back(at, nested(64), nested(64)),
    ),
    Case(
        "save it again with strings or 64-bit integers as keys",
        lambda at: saved(at, {(0, 1): ROWS}),
        lambda at: (
            comes_back(at, {"0 1": ROWS}, {"0 1": EXPECTED}),
            comes_back(at, {1: ROWS}, {1: EXPECTED}),
        ),
    ),
    Case(
        "where you trust it, load it and save it again with a current torch",
        lambda at: saved(at, ROWS, _use_new_zipfile_serialization=False),
        loaded_and_saved,
    ),
    *(
        Case[Path](
            f"is compressed with {name}; unpack it first ({name} -dc FILE > NEW)",
            lambda at, pack=pack: packed(at, pack),  # type: ignore[misc]
            lambda at, unpack=unpack: unpacked(at, unpack),  # type: ignore[misc]
        )
        for name, pack, unpack in (
            ("gzip", gzip.compress, gzip.decompress),
            ("xz", lzma.compress, lzma.decompress),
            ("bzip2", bz2.compress, bz2.decompress),
        )
    ),
    Case(
        "it does not begin as a zip file; fetch or write it again",
        lambda at: ((at / "a.pt").write_bytes(b""), read_torch_file(at / "a.pt")),
        lambda at: comes_back(at, ROWS, EXPECTED),
    ),
    Case(
        "was saved on a big-endian machine; save it again on a little-endian one",
        lambda at: of_byte_order(at, b"big"),
        lambda at: of_byte_order(at, b"little"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "-", case.says)[:50])
def test_the_advice_works(case: Case[Path], tmp_path: Path) -> None:
    try_advice(case, tmp_path)
