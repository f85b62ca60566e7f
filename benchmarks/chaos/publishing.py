"""Publishes label sets while things go wrong, and reads each back that was accepted."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.chaos.bounded import HungError, within
from benchmarks.chaos.doors import Doors
from benchmarks.chaos.judge import StreamJudge
from benchmarks.chaos.label_sets import SpelledSet
from labelcast import LabelcastError, Representation

_PAUSE_SECONDS = 4.0
_TIMEOUT_SECONDS = 20.0
# gRPC notices a silent peer after 80 seconds.
_HUNG_SECONDS = 120.0
_FIRST_NUMBER = 10

Report = Callable[[dict[str, Any]], None]


def push(known: SpelledSet, directory: Path, doors: Doors) -> None:
    """Publish once. Blocks.

    Raises:
        LabelcastError: what happened on the way.
        HungError: nothing did.
    """
    within(_HUNG_SECONDS, lambda: _push(known, directory, doors))


def _push(known: SpelledSet, directory: Path, doors: Doors) -> None:
    on_disk = known.write(directory)
    with doors.registry(timeout_seconds=_TIMEOUT_SECONDS) as registry:
        registry.push(on_disk, known.tag)


def read_whole(known: SpelledSet, doors: Doors, patience_seconds: float) -> StreamJudge:
    """Every row of a label set, as codes and as logits; of a large one, a sample. Blocks.

    Raises:
        LabelcastError: what happened on the way.
        HungError: nothing did.
    """
    hung_seconds = patience_seconds + _HUNG_SECONDS
    return within(hung_seconds, lambda: _read_whole(known, doors, patience_seconds))


def _read_whole(known: SpelledSet, doors: Doors, patience_seconds: float) -> StreamJudge:
    at = np.arange(len(known))[:: max(1, len(known) // 6000)]
    batches = [at[start : start + 500] for start in range(0, len(at), 500)]
    judge = StreamJudge(known, Representation.codes(), batches)
    dense = StreamJudge(known, Representation.logits(), batches[:4])
    with doors.client(reconnect_seconds=patience_seconds) as client:
        label_set = client.open(known.tag)
        for one, form in ((judge, Representation.codes()), (dense, Representation.logits())):
            for batch in client.stream(label_set, one.views(), form):
                one.take(batch)
            one.ended()
    for name in ("rows", "wrong", "lost", "duplicated", "whose"):
        both = getattr(judge.verdict, name) + getattr(dense.verdict, name)
        setattr(judge.verdict, name, both)
    return judge


async def keep_publishing(directory: Path, doors: Doors, report: Report) -> None:
    """Publish one label set after another until cancelled.

    Args:
        directory: for label sets.
        doors: where.
        report: told of each attempt as of a student's call.
    """
    number = 0
    while True:
        number += 1
        known = SpelledSet(
            f"chaos:pushed-{number}", "raw", _FIRST_NUMBER + number % 50, 300 + number, 8, 40
        )
        where = directory / str(number)
        event: dict[str, Any] = {"event": "call", "call": "push", "slot": -1}
        try:
            await asyncio.to_thread(push, known, where, doors)
            event["outcome"] = "published"
            report(event)
            event = {"event": "call", "call": "read back", "slot": -1}
            judge = await asyncio.to_thread(read_whole, known, doors, _TIMEOUT_SECONDS)
            report(event | {"outcome": "complete"} | judge.verdict.as_json())
        except LabelcastError as error:
            report(event | {"outcome": type(error).__name__})
        except HungError:
            report({"event": "hung", "slot": -1, "doing": event["call"]})
        except Exception as error:  # noqa: BLE001 - reported
            report(event | {"outcome": f"untyped: {type(error).__name__}: {error}"[:300]})
        await asyncio.sleep(_PAUSE_SECONDS)
