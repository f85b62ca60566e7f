from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from labelcast.codec import pack_codes, unpack_codes
from labelcast.codec.bitpack import bits_for, packed_bytes
from labelcast.errors import CodecFormatError, CodeRangeError


@st.composite
def code_tables(draw: st.DrawFn) -> tuple[int, NDArray[np.int64]]:
    bits = draw(st.integers(1, 32))
    rows, count = draw(st.integers(0, 4)), draw(st.integers(1, 20))
    code = st.integers(0, 2**bits - 1)
    table = draw(
        st.lists(st.lists(code, min_size=count, max_size=count), min_size=rows, max_size=rows)
    )
    return bits, np.array(table, dtype=np.int64).reshape(rows, count)


@given(code_tables())
def test_unpacking_recovers_what_was_packed(table: tuple[int, NDArray[np.int64]]) -> None:
    bits, codes = table
    packed = pack_codes(codes, bits=bits)
    assert packed.shape == (len(codes), packed_bytes(bits, codes.shape[1]))
    np.testing.assert_array_equal(unpack_codes(packed, bits=bits, count=codes.shape[1]), codes)


@pytest.mark.parametrize(
    ("bits", "codes", "expected"),
    [
        (1, [1, 0, 0, 0, 0, 0, 0, 0, 1], b"\x01\x01"),
        (4, [1, 2, 3], b"\x21\x03"),
        (8, [1, 255], b"\x01\xff"),
        (10, [1, 1023], b"\x01\xfc\x0f"),
        (16, [258], b"\x02\x01"),
        (18, [262_143, 1], b"\xff\xff\x07\x00\x00"),
    ],
)
def test_the_layout_of_bits_is_fixed(bits: int, codes: list[int], expected: bytes) -> None:
    assert pack_codes(np.array([codes]), bits=bits).tobytes() == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint16, np.int64])
def test_any_integer_type_packs_alike(dtype: Any) -> None:
    codes = np.array([[3, 1, 2]], dtype=dtype)
    assert (
        pack_codes(codes, bits=3).tobytes() == pack_codes(codes.astype(np.int64), bits=3).tobytes()
    )


@pytest.mark.parametrize("code", [-1, 8, 2**40])
def test_a_code_that_does_not_fit_is_refused(code: int) -> None:
    with pytest.raises(CodeRangeError):
        pack_codes(np.array([[code]]), bits=3)


def test_set_padding_bits_are_refused() -> None:
    packed = pack_codes(np.array([[1, 2, 3]]), bits=5)
    packed[0, -1] |= 0x80
    with pytest.raises(CodecFormatError, match="padding"):
        unpack_codes(packed, bits=5, count=3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2,)])
def test_a_wrong_number_of_bytes_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(CodecFormatError):
        unpack_codes(np.zeros(shape, np.uint8), bits=5, count=3)


def test_bits_hold_the_last_code_of_a_codebook() -> None:
    for size in (2, 3, 4, 5, 255, 256, 257, 65536):
        assert 2 ** (bits_for(size) - 1) < size <= 2 ** bits_for(size)
