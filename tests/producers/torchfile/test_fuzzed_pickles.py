from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelcast.errors import LabelFileError
from labelcast_producers.torchfile import read_torch_file
from labelcast_producers.torchfile.constructors import KNOWN
from tests.producers.torchfile.archives import (
    FOUR_FLOATS,
    group,
    named,
    number,
    numpy_array,
    numpy_dtype,
    numpy_scalar,
    program,
    storage,
    tensor,
    text,
    write_archive,
)

SOUND = program(
    b"](",
    tensor(),
    named("numpy.core.multiarray.scalar"),
    group(numpy_dtype("i2"), b"C\x02ab"),
    b"R",
    numpy_array(numpy_dtype("f4"), bytes(8), 2),
    group(text("x"), number(-5)),
    b"}(" + text("key") + b"G" + bytes(8) + b"u",
    b"q\x07h\x07e",
)
OPCODES = b"()]}NQRabehqtsu.0\x80\x85\x86\x87\x88\x89\x8c\x93\x94CGJKMX"


def _opens_or_refuses(path: Path, pickled: bytes) -> None:
    # Whatever else is raised fails the test.
    write_archive(path, pickled, {"0": FOUR_FLOATS})
    with suppress(LabelFileError):
        read_torch_file(path)


@given(st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), max_size=4))
@settings(max_examples=400)
def test_no_changed_pickle_gives_another_error(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    pickled = bytearray(SOUND)
    for at, value in changes:
        pickled[at] = value
    _opens_or_refuses(tmp_path_factory.getbasetemp() / "changed.pt", bytes(pickled))


@given(st.lists(st.sampled_from([bytes([code]) for code in OPCODES]) | st.binary(max_size=2)))
@settings(max_examples=400)
def test_no_random_pickle_gives_another_error(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]
) -> None:
    _opens_or_refuses(tmp_path_factory.getbasetemp() / "random.pt", program(*parts))


PIECES = [
    *(named(name) for name in KNOWN),
    *(bytes([code]) for code in b"()]}NQRbaetsu\x85\x86\x87\x88\x89"),
    *(
        b"q\x01",
        b"h\x01",
        storage(),
        tensor(),
        numpy_dtype("f4"),
        numpy_scalar(numpy_dtype("f8"), bytes(8)),
    ),
    *(text("storage"), text("<"), text("latin1"), number(0), number(3), b"C\x04abcd"),
]


@given(st.lists(st.sampled_from(PIECES), max_size=12))
@settings(max_examples=600)
def test_no_nonsense_gives_another_error(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]
) -> None:
    _opens_or_refuses(tmp_path_factory.getbasetemp() / "nonsense.pt", program(*parts))
