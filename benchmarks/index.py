"""What it costs to know where a label lies: nanoseconds a row, milliseconds and bytes to open.

    python -m benchmarks.index

Every repetition asks for other views at random; a request that is repeated teaches the processor
its branches. Beside it, in the same run, the peer: binary searches over whole tables, and a list of
the cells that have a row where a bitmap says so here. Processor time of one thread, which others on
the machine lengthen less than the clock's; medians over repetitions.
"""

import argparse
import json
import os
import platform
import statistics
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast import Views
from labelcast.label_set import (
    GridIndex,
    MaskedIndex,
    RowOrder,
    SegmentIndex,
    StoredViews,
    ViewIndex,
)
from labelcast.label_set.index.bitmap import RankedBitmap

RESULT = Path(__file__).parent / "results" / "index.json"
REQUESTS = (32_768, 1_024, 131)
# Samples and seeds: one of many views a sample, and one of many samples.
SIZES = ((50_000, 300), (1_281_167, 8))
PRUNED_SIZE, KEPT = (50_000, 300), 2 / 3  # 10 million rows
OPENINGS = 9


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    result = {
        "machine": {
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "numpy": np.__version__,
        },
        "repetitions": options.repetitions,
        "openings": OPENINGS,
        "finding": [
            _finding(name, ids, size[1], options.repetitions, rng)
            for size in SIZES
            for name, ids in _tables(size[0], rng).items()
        ],
        "opening_pruned": _opening_pruned(rng),
        "opening_whole": [_opening_whole(count, rng) for count in (50_000, 1_281_167, 10_000_000)],
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def _tables(count: int, rng: np.random.Generator) -> dict[str, NDArray[np.uint64]]:
    """Sample IDs as they come: numbered, digests of names, class and number in one integer."""
    classes = rng.integers(1000, size=2 * count)
    crowded = (classes << 32) | rng.integers(count // 100, size=2 * count)
    return {
        "contiguous": np.arange(count, dtype=np.uint64),
        "sparse": _digests(count, rng),
        "crowded": rng.permutation(np.unique(crowded))[:count].astype(np.uint64),
    }


def _digests(count: int, rng: np.random.Generator) -> NDArray[np.uint64]:
    return np.unique(rng.integers(2**64, size=count, dtype=np.uint64))


def _finding(
    name: str, ids: NDArray[np.uint64], seeds: int, repetitions: int, rng: np.random.Generator
) -> dict[str, Any]:
    ids = np.sort(ids)
    packed = _pruned(len(ids) * seeds, rng)
    seed_table = np.arange(seeds, dtype=np.uint32)
    shapes: dict[str, SegmentIndex] = {
        "grid": GridIndex(ids, seed_table, RowOrder.SEED_MAJOR),
        "masked": MaskedIndex(ids, seed_table, RowOrder.SEED_MAJOR, packed),
    }
    costs = {
        f"{shape}, {rows} rows": _costs(segment, rows, repetitions, rng)
        for shape, segment in shapes.items()
        for rows in REQUESTS
    }
    return {"sample_ids": name, "samples": len(ids), "seeds": seeds, "ns_a_row": costs}


def _costs(
    segment: SegmentIndex, rows: int, repetitions: int, rng: np.random.Generator
) -> dict[str, float]:
    index, present = ViewIndex([segment]), segment.present

    def asked() -> NDArray[np.int64]:
        return rng.integers(segment.num_rows, size=rows)

    took: dict[str, list[float]] = {"locate": [], "views_at": [], "peer: locate": []}
    for _ in range(repetitions):
        expected = asked()
        views = segment.views_at(expected)
        found, seconds = _timed(index.locate, views)
        took["locate"].append(seconds)
        assert np.array_equal(found[1], expected)
    for _ in range(repetitions):
        numbers, rows_at = index.locate(segment.views_at(asked()))
        took["views_at"].append(_timed(index.views_at, numbers, rows_at)[1])
    for _ in range(repetitions):
        expected = asked()
        found, seconds = _timed(_rows_by_search, segment, present, segment.views_at(expected))
        took["peer: locate"].append(seconds)
        assert np.array_equal(found, expected)
    return {what: statistics.median(each) / rows * 1e9 for what, each in took.items()}


def _opening_pruned(rng: np.random.Generator) -> dict[str, Any]:
    """From the content of a presence section to an index, and to the first drawn views."""
    samples, seeds = PRUNED_SIZE
    ids, seed_table = _digests(samples, rng), np.arange(seeds, dtype=np.uint32)
    packed = _pruned(len(ids) * seeds, rng)

    def opened() -> MaskedIndex:
        return MaskedIndex(ids, seed_table, RowOrder.SEED_MAJOR, packed)

    draws = np.arange(1024, dtype=np.uint32)
    first_draw = []
    for _ in range(OPENINGS):
        stored = StoredViews(ViewIndex([opened()]))
        first_draw.append(_timed(stored.draw, ids[:1024], draws)[1])
    index = opened()
    return {
        "rows": index.num_rows,
        "cells": index.num_cells,
        "bytes_a_cell": RankedBitmap(packed, index.num_cells).num_bytes / index.num_cells,
        "open_ms": _median_ms(opened),
        "open_peak_mib": _peak_mib(opened),
        "first_draw_ms": statistics.median(first_draw) * 1e3,
        "peer: bytes_a_cell": 8 * index.num_rows / index.num_cells,
        "peer: open_ms": _median_ms(lambda: _cells_by_list(packed, len(ids), index.num_cells)),
        "peer: open_peak_mib": _peak_mib(lambda: _cells_by_list(packed, len(ids), index.num_cells)),
    }


def _opening_whole(samples: int, rng: np.random.Generator) -> dict[str, Any]:
    seeds = np.arange(max(1, 10_000_000 // samples), dtype=np.uint32)
    tables = {"contiguous": np.arange(samples, dtype=np.uint64), "sparse": _digests(samples, rng)}
    return {
        "samples": samples,
        "seeds": len(seeds),
        "open_ms": {
            name: _median_ms(partial(GridIndex, ids, seeds, RowOrder.SEED_MAJOR))
            for name, ids in tables.items()
        },
    }


def _pruned(cells: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    return np.packbits(rng.random(cells) < KEPT, bitorder="little")


def _rows_by_search(
    segment: SegmentIndex, present: NDArray[np.int64] | None, views: Views
) -> NDArray[np.int64]:
    """The peer: a binary search over each table, and over the list of cells."""
    ids, seeds = segment.sample_ids, segment.seeds
    sample, seed = np.searchsorted(ids, views.sample_ids), np.searchsorted(seeds, views.seeds)
    known = (ids[np.minimum(sample, len(ids) - 1)] == views.sample_ids) & (
        seeds[np.minimum(seed, len(seeds) - 1)] == views.seeds
    )
    rows = seed * len(ids) + sample
    if present is not None:
        cells, rows = rows, np.searchsorted(present, rows)
        known &= present[np.minimum(rows, len(present) - 1)] == cells
    assert known.all()
    return rows


def _cells_by_list(packed: NDArray[np.uint8], samples: int, cells: int) -> object:
    """The peer: the cells that have a row as a list, and each sample's seeds for drawing."""
    present = np.flatnonzero(np.unpackbits(packed, bitorder="little", count=cells))
    seed, sample = np.divmod(present, samples)
    order = np.lexsort((seed, sample))
    return present, seed[order], np.searchsorted(sample[order], np.arange(samples + 1))


def _timed(run: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    began = time.thread_time()
    value = run(*arguments)
    return value, time.thread_time() - began


def _median_ms(run: Callable[[], object]) -> float:
    return statistics.median(_timed(run)[1] for _ in range(OPENINGS)) * 1e3


def _peak_mib(run: Callable[[], object]) -> float:
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


if __name__ == "__main__":
    main()
