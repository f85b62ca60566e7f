"""Every error arrives as what it was, from wherever another process raised it."""

import copy
import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from torch._utils import ExceptionWrapper
from torch.utils.data import DataLoader, Dataset

import labelcast_server.settings  # noqa: F401 - defines an error of its own
from labelcast.errors import LabelcastError


def below(root: type[LabelcastError]) -> Iterator[type[LabelcastError]]:
    for child in root.__subclasses__():
        yield child
        yield from below(child)


HOMES = ("labelcast.errors", "labelcast_server.settings")
# Other tests have errors of their own, which no other process knows.
EVERY: list[type[LabelcastError]] = [
    LabelcastError,
    *(error for error in below(LabelcastError) if error.__module__ in HOMES),
]
ADVICE = "sample 7 is not there: 3 others are; ask for one that is"


class Raising(Dataset[int]):
    """Raises another error for each item."""

    def __len__(self) -> int:
        return len(EVERY)

    def __getitem__(self, number: int) -> int:
        raise EVERY[number](ADVICE, sample_id=7)


def raise_one(number: int) -> None:
    raise EVERY[number](ADVICE, sample_id=7)


def test_from_a_worker_of_a_data_loader() -> None:
    loader = DataLoader(
        Raising(), batch_size=None, num_workers=1, multiprocessing_context="forkserver"
    )
    items = iter(loader)
    for error in EVERY:
        with pytest.raises(error) as caught:
            next(items)
        assert type(caught.value) is error
        assert caught.value.message == ADVICE
        (note,) = caught.value.__notes__
        assert "__getitem__" in note
    with pytest.raises(StopIteration):
        next(items)


@pytest.mark.parametrize("error", EVERY, ids=lambda error: error.__name__)
def test_through_what_torch_wraps_errors_in(error: type[LabelcastError]) -> None:
    try:
        try:
            raise KeyError("before")
        except KeyError as before:
            raise error(ADVICE) from before
    except error:
        wrapped = ExceptionWrapper(where="in a worker")
    with pytest.raises(error) as caught:
        pickle.loads(pickle.dumps(wrapped)).reraise()
    assert caught.value.message == ADVICE


def test_from_a_process_of_a_pool() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("forkserver")) as pool:
        for number, error in enumerate(EVERY):
            with pytest.raises(error) as caught:
                pool.submit(raise_one, number).result()
            assert type(caught.value) is error
            assert caught.value.message == ADVICE
            assert caught.value.facts == {"sample_id": "7"}


@pytest.mark.parametrize("error", EVERY, ids=lambda error: error.__name__)
@pytest.mark.parametrize("through", [lambda it: pickle.loads(pickle.dumps(it)), copy.deepcopy])
def test_pickled_and_copied(error: type[LabelcastError], through: object) -> None:
    assert callable(through)
    twin = through(error(ADVICE, sample_id=7))
    assert (type(twin), twin.message, twin.facts) == (error, ADVICE, {"sample_id": "7"})
