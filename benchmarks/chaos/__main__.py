"""Command line of the chaos suite; see the package."""

import argparse
import asyncio
import dataclasses
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.chaos.conductor import Plan, run
from benchmarks.chaos.variation import VARIATIONS

RESULT = Path(__file__).parents[1] / "results" / "chaos.json"
LONG = Plan(seed=2027, minutes=15.0, faults=1200, rows=20_500_000)
# Ends as soon as it has enough: a slow machine may take its time.
SHORT = Plan(
    seed=7,
    minutes=4.0,
    faults=14,
    rows=50_000,
    processes=1,
    threads=2,
    tasks=2,
    scale=0.3,
    link_pause_seconds=0.1,
    process_pause_seconds=4.0,
    renewal_pause_seconds=2.0,
    fill_disk=False,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and write the result; 1 if anything was wrong, lost, duplicated or hung."""
    parser = argparse.ArgumentParser(description="Injected faults; every row is compared.")
    parser.add_argument("--variation", choices=VARIATIONS, help="one alone; by default all in turn")
    parser.add_argument("--short", action="store_true", help="a few dozen faults")
    parser.add_argument("--seed", type=int, help="of all draws")
    parser.add_argument("--minutes", type=float, help="faults happen for at most so long")
    parser.add_argument("--faults", type=int, help="stop after so many, if there are rows enough")
    parser.add_argument("--rows", type=int, help="stop after so many, if there are faults enough")
    parser.add_argument("--no-disk", action="store_true", help="do not fill up a disk")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args(arguments)
    given = {
        name: value
        for name in ("seed", "minutes", "faults", "rows")
        if (value := getattr(options, name)) is not None
    }
    plan = dataclasses.replace(SHORT if options.short else LONG, **given)
    if options.no_disk:
        plan = dataclasses.replace(plan, fill_disk=False)
    named = [options.variation] if options.variation else list(VARIATIONS)
    found = {name: asyncio.run(run(plan, VARIATIONS[name])) for name in named}
    print(json.dumps(found, indent=1))
    # Of the others, what they have found before is kept.
    kept = json.loads(options.out.read_text())["variations"] if options.out.exists() else {}
    every = kept | found
    result = {"variations": {name: every[name] for name in VARIATIONS if name in every}}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    return int(any(one["failed"] for one in found.values()))


if __name__ == "__main__":
    # As Ctrl-C: processes that are stopped go on, and all of them end.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
