"""gRPC passes over options that it does not know, without a word: a name once was misspelt."""

import re
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
OPTION = re.compile(r"\"(grpc\.(?:http2\.)?[a-z_]+)\"")


def test_grpc_knows_every_option_that_it_is_given() -> None:
    library = find_spec("grpc._cython.cygrpc")
    assert library is not None
    assert library.origin is not None
    known = Path(library.origin).read_bytes()
    given = {
        name
        for folder in ("client", "server", "benchmarks")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for name in OPTION.findall(path.read_text(encoding="utf-8"))
    }
    assert "grpc.keepalive_time_ms" in given
    assert [name for name in sorted(given) if f"{name}\0".encode() not in known] == []
