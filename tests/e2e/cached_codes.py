"""Codes read through the cache of a machine, here or in other processes, and compared."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from labelcast import Plan, RemoteLabelSet, Representation, Views
from labelcast.remote.node_cache.code_choice import CodeChoice
from tests.e2e.label_sets import KnownLabelSet
from tests.e2e.running_service import clean_environment

ROOT = Path(__file__).parents[2]
CODES, LOGITS = Representation.codes(), Representation.logits()
# A call that opens, with its reply.
OPENING_BYTES = 20_000


def epochs(known: KnownLabelSet, count: int) -> Plan:
    """So many epochs, each of the first seed."""
    ids = np.unique(known.views.sample_ids)
    return Plan(ids, [int(known.views.seeds[0])] * count)


def passes(known: KnownLabelSet, count: int) -> Plan:
    """Every label so many times."""
    views = known.views
    return Plan(np.unique(views.sample_ids), np.unique(views.seeds).tolist() * count)


def places(known: KnownLabelSet, views: Views) -> Any:
    return known.on_disk.index().locate(views)[1]


def read(label_set: RemoteLabelSet, known: KnownLabelSet, batches: Any) -> int:
    """Read codes and compare them; how many."""
    count = 0
    for labels in label_set.stream(batches, CODES):
        known.check(labels, places(known, labels.views), CODES)
        count += len(labels.rows)
    return count


def read_all(label_set: RemoteLabelSet, known: KnownLabelSet, *, seed: int = 0) -> None:
    """Read every label once, in some order."""
    order = np.random.default_rng(seed).permutation(len(known.views))
    assert read(label_set, known, known.views[order].batches(512)) == len(order)


def how(label_set: RemoteLabelSet) -> CodeChoice:
    assert label_set.code_choice is not None
    return label_set.code_choice


def stored(cache: Path) -> int:
    return sum(path.stat().st_size for path in cache.glob("sha256-*"))


@contextlib.contextmanager
def reader(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.cached_reader", *map(str, arguments)],
        cwd=ROOT,
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def epoch(process: subprocess.Popen[str], where: str = "here") -> dict[str, Any]:
    """Have a reader read an epoch."""
    begin(process, where)
    return ended(process)


def begin(process: subprocess.Popen[str], where: str = "here") -> None:
    assert process.stdin is not None
    process.stdin.write(f"{where}\n")
    process.stdin.flush()


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    told: dict[str, Any] = json.loads(process.stdout.readline())
    return told
