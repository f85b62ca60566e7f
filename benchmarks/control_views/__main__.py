"""Starts of training loops in pairs, one as it should be and one with a fault.

    python -m benchmarks.control_views

Pairs take label sets, faults, forms of labels, threads and batch sizes by turns; each start opens
its label set and its data set anew. The first of a pair must begin. The second must not, and says
how many of its control views show it. How many clean starts would raise a false alarm cannot be
counted with a few hundred pairs: further starts without a fault follow, and what is measured is
how far all stay from the tolerance. Parts run in processes with kernels for other processors.
"""

import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.control_views.faults import FAULTS, HARMLESS, Fault, Start
from benchmarks.control_views.made import Made, make_all
from benchmarks.control_views.starts import Outcome, begin, is_refused
from labelcast import Representation
from labelcast.codec import LabelKind, Precision
from labelcast.torch import LabelSetSource

RESULT = Path(__file__).parents[1] / "results" / "control_views.json"
THREADS, BATCH_SIZES, FORMS = (1, 2), (1, 32, 60), 3
# Kernels for other processors, which round otherwise; the teacher's process has this one's own.
KERNELS = ("default", "avx2", None)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=399)
    parser.add_argument("--clean", type=int, default=2700, help="further starts without a fault")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--made", type=Path, help="label sets for which to try a part of the pairs")
    parser.add_argument("--part", type=int, help="which part")
    options = parser.parse_args(arguments)
    if options.made is not None:
        outcomes = try_part(make_all(options.made), options.pairs, options.clean, options.part)
        options.out.write_text(json.dumps(outcomes))
        return
    with tempfile.TemporaryDirectory() as directory:
        made = make_all(Path(directory))
        parts = [
            _in_another_process(Path(directory), options.pairs, options.clean, part)
            for part in range(len(KERNELS))
        ]
        result = {
            "machine": {
                "cpus": os.cpu_count(),
                "python": platform.python_version(),
                "numpy": np.__version__,
                "torch": torch.__version__,
                "kernels": [part["kernels"] for part in parts],
            },
            "label_sets": [one.name for one in made],
            **summary(parts),
            "harmless": [_summary(fault, _all_with(fault, made)) for fault in HARMLESS],
        }
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def _in_another_process(directory: Path, pairs: int, clean: int, part: int) -> dict[str, Any]:
    kernels, out = KERNELS[part], directory / "part.json"
    environment = os.environ | ({} if kernels is None else {"ATEN_CPU_CAPABILITY": kernels})
    command = [sys.executable, "-m", "benchmarks.control_views", "--made", str(directory)]
    numbers = ["--pairs", str(pairs), "--clean", str(clean), "--part", str(part)]
    subprocess.run([*command, *numbers, "--out", str(out)], env=environment, check=True)
    outcomes: dict[str, Any] = json.loads(out.read_bytes())
    return outcomes


def try_part(made: Sequence[Made], pairs: int, clean: int, part: int) -> dict[str, Any]:
    """Every third pair, and every third further start without a fault."""
    possible = [(fault, one) for fault in FAULTS for one in made if fault.start(one) is not None]
    settings = list(itertools.product(THREADS, BATCH_SIZES, range(FORMS)))
    tried = []
    for number in range(part, pairs, len(KERNELS)):
        fault, one = possible[number % len(possible)]
        threads, batch_size, form = settings[number // len(KERNELS) % len(settings)]
        torch.set_num_threads(threads)
        as_it_should_be = begin(_clean(one, form), compared=True, batch_size=batch_size)
        faulty = begin(_with(fault, one), compared=False)
        tried.append(
            {"fault": fault.name, "clean": asdict(as_it_should_be), "faulty": asdict(faulty)}
        )
    alarms = 0
    for number in range(part, clean, len(KERNELS)):
        threads, batch_size, form = settings[number // len(KERNELS) % len(settings)]
        torch.set_num_threads(threads)
        start = _clean(made[number // len(KERNELS) % len(made)], form)
        alarms += is_refused(start, compared=True, batch_size=batch_size)
    return {
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "pairs": tried,
        "further": len(range(part, clean, len(KERNELS))),
        "further_alarms": alarms,
    }


def summary(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What came of all parts."""
    tried = [pair for part in parts for pair in part["pairs"]]
    clean = [Outcome(**pair["clean"]) for pair in tried]
    starts = len(clean) + sum(part["further"] for part in parts)
    alarms = sum(outcome.alarm for outcome in clean)
    alarms += sum(part["further_alarms"] for part in parts)
    pixels = [outcome.pixels for outcome in clean if outcome.pixels is not None]
    return {
        "pairs": len(tried),
        "clean": {
            "starts": starts,
            "alarms": alarms,
            # Exact (Clopper-Pearson), of 95 %, one-sided; where there was no alarm.
            "most_alarms_a_start": None if alarms else 1 - 0.05 ** (1 / starts),
            "largest_pixel_difference": max(pixels),
            "largest_label_difference": max(outcome.labels for outcome in clean),
        },
        "faults": [
            _summary(
                fault,
                [Outcome(**pair["faulty"]) for pair in tried if pair["fault"] == fault.name],
            )
            for fault in FAULTS
        ],
    }


def _clean(one: Made, form: int) -> Start:
    label_set = one.label_set()
    dense = Representation.logits(Precision.FP16)
    if label_set.contract.label_kind is LabelKind.PROBABILITIES:
        dense = Representation.probabilities(1.0)
    forms = (Representation.codes(), dense, Representation.probabilities(1.0))
    return one.dataset(), LabelSetSource(label_set, forms[form])


def _with(fault: Fault, one: Made) -> Start:
    start = fault.start(one)
    assert start is not None
    return start


def _all_with(fault: Fault, made: Sequence[Made]) -> list[Outcome]:
    starts = [start for one in made if (start := fault.start(one)) is not None]
    return [begin(start, compared=False) for start in starts]


def _summary(fault: Fault, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    return {
        "fault": fault.name,
        "where": fault.where,
        "starts": len(outcomes),
        "alarms": sum(outcome.alarm for outcome in outcomes),
        "views": sum(outcome.views for outcome in outcomes),
        "views_that_differ": sum(outcome.noticed for outcome in outcomes),
    }


if __name__ == "__main__":
    main()
