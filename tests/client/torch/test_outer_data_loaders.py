"""`SoftLabelLoader` inside the loaders of torch and torchdata, which take it for a data set."""

import json
from typing import Any

import pytest
from torch.utils.data import DataLoader

from labelcast.errors import InvalidRequestError
from labelcast.torch import Batch
from tests.client.torch.test_going_on import assert_same_batch, loader


def assert_same_batches(some: list[Batch], others: list[Batch]) -> None:
    for one, other in zip(some, others, strict=True):
        assert_same_batch(one, other)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_data_loader_passes_its_batches_on(num_workers: int) -> None:
    workers: dict[str, Any] = {"multiprocessing_context": "fork"} if num_workers else {}
    outer: DataLoader[Any] = DataLoader(
        loader(), batch_size=None, num_workers=num_workers, **workers
    )
    assert len(outer) == len(loader())
    assert_same_batches(list(outer), list(loader()))


def test_several_workers_would_each_give_every_batch() -> None:
    outer: DataLoader[Any] = DataLoader(
        loader(), batch_size=None, num_workers=2, multiprocessing_context="fork"
    )
    with pytest.raises(
        InvalidRequestError,
        match="give the outer DataLoader num_workers=0, and SoftLabelLoader image_workers= to read",
    ):
        next(iter(outer))


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("seen", [1, 4, 7])
def test_torchdata_keeps_its_state_and_gives_it_back(num_workers: int, seen: int) -> None:
    stateful: Any = pytest.importorskip(
        "torchdata.stateful_dataloader", reason="torchdata is only in the examples' environment"
    )
    options: dict[str, Any] = {"batch_size": None, "num_workers": num_workers}
    if num_workers:
        options["multiprocessing_context"] = "fork"
    whole = list(loader())
    first = stateful.StatefulDataLoader(loader(), **options)
    batches = iter(first)
    assert_same_batches([next(batches) for _ in range(seen)], whole[:seen])
    state = json.loads(json.dumps(first.state_dict()))
    del batches
    second = stateful.StatefulDataLoader(loader(), **options)
    second.load_state_dict(state)
    assert_same_batches(list(second), whole[seen:])
