"""The fast checksum and the standard library's are the same function."""

import subprocess
import sys
import zlib

from hypothesis import given
from hypothesis import strategies as st

from labelcast.checksums import crc32


@given(st.binary(max_size=5000), st.integers(0, 2**32 - 1))
def test_same_numbers_as_zlib(content: bytes, start: int) -> None:
    assert crc32(content, start) == zlib.crc32(content, start)


def test_goes_without_zlib_ng() -> None:
    code = (
        "import sys; sys.modules['zlib_ng'] = None\n"
        "from labelcast.checksums import crc32; import zlib; assert crc32 is zlib.crc32"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
