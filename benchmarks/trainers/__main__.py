"""Measures training loops, beside the same loops with their labels in memory.

python -m benchmarks.trainers
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from benchmarks.trainers.measures import FULL, QUICK, measure

RESULT = Path(__file__).parents[1] / "results" / "trainers.json"
QUICK_RESULT = Path("bench-out") / "trainers.json"


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="little of everything")
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    out = options.out or (QUICK_RESULT if options.quick else RESULT)
    out.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        for row in measure(Path(directory), QUICK if options.quick else FULL):
            rows.append(row)
            ratio = "" if row["ratio"] is None else f", {row['ratio']:.3g}x"
            sys.stdout.write(f"{row['name']}: {row['ours']:.3g} {row['unit']}{ratio}\n")
            sys.stdout.flush()
    machine = {"cpus": os.cpu_count(), "python": platform.python_version()}
    versions = {name: version(name) for name in ("grpcio", "torch", "numpy")}
    found = {"machine": machine, "versions": versions, "measures": rows}
    out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
