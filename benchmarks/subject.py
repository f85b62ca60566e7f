"""What it costs that every answer proves whose labels it carries, in nanoseconds a row.

    python -m benchmarks.subject

The service takes each row's view back through the tables and sums it up; the client sums up what it
asked for. Beside it, in the same run: the two ends with other checksums, and what a row of the same
request costs elsewhere (finding its place, gathering it). One thread; medians over repetitions.
"""

import argparse
import hashlib
import json
import os
import platform
import statistics
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from labelcast import Representation, Views
from labelcast.answer_subject import LabelSubject
from labelcast.checksums import crc32
from labelcast.identifiers import digest_from_hash
from labelcast.label_set.index.grid import GridIndex
from labelcast.label_set.index.whole import ViewIndex
from labelcast.label_set.segment import RowOrder

RESULT = Path(__file__).parent / "results" / "subject.json"
DIGEST = digest_from_hash(bytes(32))
SAMPLES, SEEDS, STRIDE = 50_000, 300, 8


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    result = {
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
        "label_set": {"samples": SAMPLES, "seeds": SEEDS, "payload_bytes": STRIDE},
        "fast_checksum": crc32 is not zlib.crc32,
        "repetitions": options.repetitions,
        "requests": [
            _request("one epoch, 32,768 rows", 32_768, one_seed=True, options=options),
            _request("random views, 32,768 rows", 32_768, one_seed=False, options=options),
            _request("one epoch, 1,024 rows", 1_024, one_seed=True, options=options),
            _request("one epoch, 131 rows", 131, one_seed=True, options=options),
        ],
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def _request(
    name: str, count: int, *, one_seed: bool, options: argparse.Namespace
) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    ids = np.sort(rng.choice(2**40, SAMPLES, replace=False)).astype(np.uint64)
    segment = GridIndex(ids, np.arange(SEEDS, dtype=np.uint32), RowOrder.SEED_MAJOR)
    index = ViewIndex([segment])
    seeds = 7 if one_seed else rng.integers(SEEDS, size=count)
    views = Views.of(ids[rng.integers(SAMPLES, size=count)], seeds)
    segments, rows = index.locate(views)
    codes = rng.integers(256, size=(segment.num_rows, STRIDE), dtype=np.uint8)
    subject = LabelSubject(DIGEST, Representation.codes())
    id_bytes, seed_bytes = views.sample_ids.tobytes(), views.seeds.tobytes()
    ends: dict[str, Callable[[], object]] = {
        "service: view of each row": lambda: index.views_at(segments, rows),
        "service: with its checksum": lambda: subject.checksum(index.views_at(segments, rows)),
        "client: checksum": lambda: subject.checksum(views),
        "peer: zlib's CRC-32": lambda: zlib.crc32(seed_bytes, zlib.crc32(id_bytes)),
        "peer: blake2b": lambda: hashlib.blake2b(id_bytes).update(seed_bytes),
        "peer: sha256": lambda: hashlib.sha256(id_bytes).update(seed_bytes),
        "the same request: locating": lambda: index.locate(views),
        "the same request: gathering": lambda: codes[rows],
    }
    costs = {what: _nanoseconds(run, count, options) for what, run in ends.items()}
    both = costs["service: with its checksum"] + costs["client: checksum"]
    return {"request": name, "rows": count, "both_ends_ns": both, "ns_a_row": costs}


def _nanoseconds(run: Callable[[], object], rows: int, options: argparse.Namespace) -> float:
    seconds = []
    for _ in range(options.repetitions):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) / rows * 1e9


if __name__ == "__main__":
    main()
