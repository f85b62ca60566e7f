"""Real DataLoaders whose labels are asked in different places; a program, which tells what came.

    python -m tests.e2e.loader_workers ADDRESS TAG DIRECTORY START_METHOD

DIRECTORY holds the label set that the service has under TAG: every label is compared with it. One
line of JSON a case: {"opened", "places", "workers", "ended"}.
"""

import itertools
import json
import multiprocessing
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from labelcast import LabelClient, LabelSet, Representation, Views
from labelcast.errors import LabelcastError
from labelcast.label_set_directory import LabelSetDirectory

GETITEM, COLLATE, MAIN = "`__getitem__`", "`collate_fn`", "the main process"
BATCH = 12
RIGHT = "right"


@dataclass(frozen=True)
class Case:
    """One DataLoader: who asks for labels, and what the main process had done before.

    Attributes:
        opened: whether the main process had used the client before the workers started.
        places: where labels are asked.
        workers: number of workers.
    """

    opened: bool
    places: tuple[str, ...]
    workers: int


def cases(method: str) -> list[Case]:
    """Every case of a start method; a spawned worker imports torch anew, so its places share it."""
    places = (GETITEM, COLLATE, MAIN)
    alone = [(place,) for place in places]
    if method == "spawn":
        return [Case(False, places[:2], 1), Case(True, places, 2)]
    # Whatever is asked in the main process opens its channel: there is no case before that.
    fresh = [Case(False, where, 2) for where in alone[:2]]
    return fresh + [Case(True, where, workers) for where in alone for workers in (0, 2)]


class Asking:
    """Asks a service, which it opens where it is first called, like any user's code.

    Args:
        client: client, perhaps of another process.
        tag: tag of the label set.
    """

    def __init__(self, client: LabelClient, tag: str) -> None:
        self._client, self._tag = client, tag
        self._label_set: LabelSet | None = None

    def label_set(self) -> LabelSet:
        """The label set, opened once."""
        if self._label_set is None:
            self._label_set = self._client.open(self._tag)
        return self._label_set

    def __call__(self, views: Views) -> torch.Tensor:
        """Labels of views, shape (N, C)."""
        return torch.tensor(self.label_set().labels(views.sample_ids, views.seeds))

    def ahead(self, batches: Iterable[Views]) -> Iterator[torch.Tensor]:
        """Labels of batches, requested ahead; a stream is open from the first one on."""
        label_set = self.label_set()
        decoder = label_set.decoder()
        for batch in label_set.stream(batches, Representation.codes()):
            yield torch.tensor(decoder.decode(batch.rows, batch.views))


class Samples(Dataset[Any]):
    """Numbers of views, and their labels if they are asked one by one."""

    def __init__(self, views: Views, ask: Asking | None) -> None:
        self._views, self._ask = views, ask

    def __len__(self) -> int:
        return len(self._views)

    def __getitem__(self, number: int) -> tuple[int, torch.Tensor | None]:
        asked = None if self._ask is None else self._ask(self._views[number : number + 1])[0]
        return number, asked


class Collate:
    """Stacks a batch, and asks for its labels at once if it should."""

    def __init__(self, views: Views, ask: Asking | None) -> None:
        self._views, self._ask = views, ask

    def __call__(
        self, items: list[tuple[int, torch.Tensor | None]]
    ) -> tuple[NDArray[Any], list[torch.Tensor]]:
        at = np.array([number for number, _ in items])
        given = [label for _, label in items if label is not None]
        answers = [torch.stack(given)] if given else []
        return at, answers if self._ask is None else [*answers, self._ask(self._views[at])]


def compare(case: Case, method: str, ask: Asking, views: Views, known: torch.Tensor) -> None:
    """Read every label once from each place.

    Raises:
        AssertionError: a label is wrong, lacking or there twice.
    """
    chosen = [ask if place in case.places else None for place in (GETITEM, COLLATE, MAIN)]
    loader = DataLoader(
        Samples(views, chosen[0]),
        batch_size=BATCH,
        num_workers=case.workers,
        collate_fn=Collate(views, chosen[1]),
        multiprocessing_context=method if case.workers else None,
        timeout=120 if case.workers else 0,
    )
    ahead: Iterator[torch.Tensor] = iter(())
    if chosen[2] is not None:
        ahead = ask.ahead(views.batches(BATCH))
        # The stream is open while workers start.
        ahead = itertools.chain([next(ahead)], ahead)
    seen: list[int] = []
    for at, answers in loader:
        every = [*answers, *itertools.islice(ahead, 1)]
        assert len(every) == len(case.places), f"{len(every)} answers"
        for labels in every:
            assert torch.equal(labels, known[at]), f"WRONG LABELS of views {at.tolist()}"
        seen += at.tolist()
    assert seen == list(range(len(views))), "not every view once"


def main() -> None:
    address, tag, directory, method = sys.argv[1:]
    # torch warns of more workers than cores, gRPC's files of being forked.
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    multiprocessing.set_forkserver_preload(["torch", "labelcast.remote.client"])
    on_disk = LabelSetDirectory(Path(directory))
    views = on_disk.index().segments[0].views()
    known = torch.tensor(on_disk.labels(views.sample_ids, views.seeds))
    client = LabelClient(address)
    used = Asking(client, tag)
    for case in cases(method):
        ask = Asking(client, tag)
        if case.opened:
            used(views[:1])
            ask = used
        try:
            compare(case, method, ask, views, known)
            ended = RIGHT
        except LabelcastError as error:
            ended = f"{type(error).__name__}: {error.message}"
        except Exception as error:  # noqa: BLE001 - told, and compared with what should come
            ended = f"another error, {type(error).__name__}: {error}"
        print(json.dumps(asdict(case) | {"ended": ended}), flush=True)


if __name__ == "__main__":
    main()
