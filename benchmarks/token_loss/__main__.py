"""What a loss over a vocabulary costs that never holds its logits, beside one that does.

    python -m benchmarks.token_loss

Forward and backward pass from the student's last hidden states and the teacher's, without the
models, on one thread. Ways go by turns in one process; time is the processor's, so that neighbours
of the machine do not count, and a ratio is the median of those of the turns. Memory is what a
process of its own holds at most, besides what it held before.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.token_loss.ways import WAYS, Inputs, over_tokens

RESULT = Path(__file__).parents[1] / "results" / "token_loss.json"
QUICK_RESULT = Path("bench-out") / "token_loss.json"
TOKENS, VOCABULARY, WIDTH = 4_096, 49_152, 576
NAMES = {
    "over tokens": "states to states, slices over tokens (ours)",
    "over vocabulary": "the same in slices over the vocabulary",
    "from logits": "from logits that the student has made",
    "sampled": "12 named tokens a label",
}
GATED = "over tokens"
MOST_TIME, MOST_MEMORY, MOST_MILLIONTHS = 1.5, 1 / 8, 100


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few tokens, once")
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--peak-of", choices=WAYS, help="print the peak memory of one way")
    parser.add_argument("--tokens", type=int, default=TOKENS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    tokens = 256 if options.quick else options.tokens
    if options.peak_of:
        sys.stdout.write(f"{peak_bytes(options.peak_of, tokens)}\n")
        return
    out = options.out or (QUICK_RESULT if options.quick else RESULT)
    out.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
        "versions": {"torch": torch.__version__},
        "size": {"tokens": tokens, "vocabulary": VOCABULARY, "width": WIDTH},
        "measures": measures(tokens, repetitions=1 if options.quick else 3),
    }
    out.write_text(json.dumps(result, indent=1) + "\n")


def measures(tokens: int, repetitions: int) -> list[dict[str, Any]]:
    given = Inputs.drawn(tokens, VOCABULARY, WIDTH)
    error = greatest_error(given)
    turns = [{way: seconds(way, given) for way in WAYS} for _ in range(repetitions)]
    peaks = {way: peak_in_child(way, tokens) for way in WAYS}
    rows = [
        row("error of loss and gradients", "millionths", error * 1e6, None, MOST_MILLIONTHS),
    ]
    for way, name in NAMES.items():
        ratios = sorted(turn[way] / turn["naive"] for turn in turns)
        mine, theirs = (statistics.median(turn[each] for turn in turns) for each in (way, "naive"))
        reach = MOST_TIME if way == GATED else None
        timed = row(f"time, {name}", "s", mine, theirs, reach)
        timed |= {"ratio": statistics.median(ratios), "spread": [ratios[0], ratios[-1]]}
        rows.append(timed | ({} if reach is None else {"reached": timed["ratio"] <= reach}))
    for way, name in NAMES.items():
        reach = MOST_MEMORY if way == GATED else None
        mine, theirs = (peaks[each] / 2**20 for each in (way, "naive"))
        rows.append(row(f"memory, {name}", "MiB", mine, theirs, reach))
    return rows


def row(
    name: str, unit: str, ours: float, peer: float | None, reach: float | None
) -> dict[str, Any]:
    """One row of `measures_table`."""
    ratio = None if peer is None else ours / peer
    compared = ours if ratio is None else ratio
    reached = {} if reach is None else {"reached": compared <= reach}
    return {
        "name": name,
        "unit": unit,
        "ours": ours,
        "peer": peer,
        "ratio": ratio,
        "reach": reach,
        "lower_is_better": True,
    } | reached


def greatest_error(given: Inputs) -> float:
    """Greatest difference of ours to the naive loss and gradients, of the greatest of each."""
    found = []
    for way in (over_tokens, WAYS["naive"]):
        given.states.grad = given.weight.grad = None
        found.append((way(given), given.states.grad, given.weight.grad))
    return max(
        float((mine - theirs).abs().max() / theirs.abs().max())
        for mine, theirs in zip(*found, strict=True)
        if mine is not None and theirs is not None
    )


def seconds(way: str, given: Inputs) -> float:
    """Processor seconds of one way."""
    given.states.grad = given.weight.grad = None
    began = time.process_time()
    WAYS[way](given)
    return time.process_time() - began


def peak_in_child(way: str, tokens: int) -> int:
    """Peak of a way in a process of its own, in bytes."""
    command = [sys.executable, "-m", "benchmarks.token_loss", "--peak-of", way]
    told = subprocess.run(
        [*command, "--tokens", str(tokens)], check=True, capture_output=True, text=True
    )
    return int(told.stdout)


def peak_bytes(way: str, tokens: int) -> int:
    """Most bytes resident during one way, besides those before it."""
    # What libraries load when they are first used is nobody's.
    WAYS[way](Inputs.drawn(8, 4 * 64, 16))
    given = Inputs.drawn(tokens, VOCABULARY, WIDTH)
    before = status_bytes("VmRSS")
    # Forgets the peak so far.
    Path("/proc/self/clear_refs").write_text("5")
    WAYS[way](given)
    return status_bytes("VmHWM") - before


def status_bytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise LookupError(name)


if __name__ == "__main__":
    main()
