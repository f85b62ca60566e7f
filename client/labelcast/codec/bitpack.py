"""Integers of 1 to 16 bits ⇄ bytes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import CodecFormatError, CodeRangeError


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
        bits: width of one code, 1 to 16.

    Returns:
        uint8, shape (N, ceil(M * bits / 8)); bits past the last code are zero.

    Raises:
        CodeRangeError: a code does not fit.
    """
    if codes.size and (codes.min() < 0 or codes.max() >= 1 << bits):
        raise CodeRangeError(f"a code does not fit into {bits} bits")
    if bits in (8, 16):
        whole = np.ascontiguousarray(codes, dtype=f"<u{bits // 8}")
        return whole.view(np.uint8).reshape(len(codes), packed_bytes(bits, codes.shape[1]))
    wide = np.ascontiguousarray(codes, dtype="<u2")
    planes = np.unpackbits(wide.view(np.uint8).reshape(*wide.shape, 2), axis=2, bitorder="little")
    used = planes[:, :, :bits].reshape(len(codes), bits * codes.shape[1])
    return np.packbits(used, axis=1, bitorder="little")


def unpack_codes(packed: NDArray[np.uint8], *, bits: int, count: int) -> NDArray[np.uint32]:
    """Recover the integers that `pack_codes` wrote.

    Args:
        packed: uint8, shape (N, ceil(count * bits / 8)).
        bits: width of one code, 1 to 16.
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
    if bits in (8, 16):
        whole = np.ascontiguousarray(packed).view(f"<u{bits // 8}")
        return whole.reshape(len(packed), count).astype(np.uint32)
    planes = np.unpackbits(packed, axis=1, bitorder="little")
    if planes[:, bits * count :].any():
        raise CodecFormatError("padding bits after the last code are not zero")
    weights = np.uint32(1) << np.arange(bits, dtype=np.uint32)
    columns = planes[:, : bits * count].reshape(len(packed), count, bits)
    codes: NDArray[np.uint32] = (columns * weights).sum(axis=2, dtype=np.uint32)
    return codes
