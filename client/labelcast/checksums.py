"""CRC-32, as fast as this machine can.

Checksums guard against accidents; digests (sha256) say what something is. With zlib-ng a row of a
request costs 0.8 ns instead of 4 on a zlib that does not know the processor's own instructions, and
every byte that is served passes through here several times.
"""

try:
    from zlib_ng.zlib_ng import crc32
except ImportError:  # the edge goes without: the same numbers, slower
    from zlib import crc32

__all__ = ["crc32"]
