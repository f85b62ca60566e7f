"""Integers of 1 to 32 bits ⇄ bytes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import CodecFormatError, CodeRangeError

# Widths whose bits are those of an integer type.
WHOLE = (8, 16, 32)


def packed_bytes(bits: int, count: int) -> int:
    """Bytes of one packed row."""
    return -(-bits * count // 8)


def bits_for(codebook_size: int) -> int:
    """Bits of one code for a codebook of 2 to 65,536 codewords."""
    return (codebook_size - 1).bit_length()


def pack_codes(codes: NDArray[Any], *, bits: int) -> NDArray[np.uint8]:
    """Pack integers, lowest bit first, without gaps inside a row.

    Args:
        codes: any integer dtype, shape (N, M), values below 2**bits.
        bits: width of one code, 1 to 32.

    Returns:
        uint8, shape (N, ceil(M * bits / 8)); bits past the last code are zero.

    Raises:
        CodeRangeError: a code does not fit.
    """
    if codes.size and (codes.min() < 0 or codes.max() >= 1 << bits):
        raise CodeRangeError(f"a code does not fit into {bits} bits")
    if bits in WHOLE:
        whole = np.ascontiguousarray(codes, dtype=f"<u{bits // 8}")
        return whole.view(np.uint8).reshape(len(codes), packed_bytes(bits, codes.shape[1]))
    return np.packbits(bits_of(codes, bits=bits), axis=1, bitorder="little")


def unpack_codes(packed: NDArray[np.uint8], *, bits: int, count: int) -> NDArray[np.uint32]:
    """Recover the integers that `pack_codes` wrote.

    Args:
        packed: uint8, shape (N, ceil(count * bits / 8)).
        bits: width of one code, 1 to 32.
        count: codes per row (M); stored beside the bytes because the last byte may be padded.

    Returns:
        uint32, shape (N, M), newly allocated.

    Raises:
        CodecFormatError: wrong number of columns, or padding bits that are not zero.
    """
    if packed.ndim != 2 or packed.shape[1] != packed_bytes(bits, count):
        raise CodecFormatError(
            f"{count} codes of {bits} bits need {packed_bytes(bits, count)} bytes a row,"
            f" got shape {packed.shape}"
        )
    if bits in WHOLE:
        whole = np.ascontiguousarray(packed).view(f"<u{bits // 8}")
        return whole.reshape(len(packed), count).astype(np.uint32)
    planes = np.unpackbits(packed, axis=1, bitorder="little")
    if planes[:, bits * count :].any():
        raise CodecFormatError("padding bits after the last code are not zero")
    return codes_of(planes[:, : bits * count], bits=bits)


def bits_of(codes: NDArray[Any], *, bits: int) -> NDArray[np.uint8]:
    """Write integers as bits, lowest first, one after the other.

    Args:
        codes: any integer dtype, shape (N, M), values below 2**bits.
        bits: width of one code, 1 to 32.

    Returns:
        uint8 of 0 and 1, shape (N, M * bits).
    """
    width = 2 if bits <= 16 else 4
    wide = np.ascontiguousarray(codes, dtype=f"<u{width}").view(np.uint8)
    planes = np.unpackbits(wide.reshape(*codes.shape, width), axis=2, bitorder="little")
    return planes[:, :, :bits].reshape(len(codes), bits * codes.shape[1])


def codes_of(planes: NDArray[np.uint8], *, bits: int) -> NDArray[np.uint32]:
    """Read the integers that `bits_of` wrote: uint32, shape (N, M), newly allocated."""
    weights = np.uint32(1) << np.arange(bits, dtype=np.uint32)
    columns = planes.reshape(len(planes), planes.shape[1] // bits, bits)
    codes: NDArray[np.uint32] = (columns * weights).sum(axis=2, dtype=np.uint32)
    return codes
