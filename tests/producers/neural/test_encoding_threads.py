"""Blocks encoded on several cores."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from labelcast_producers.dense.files import LabelFile
from labelcast_producers.dense.labels import DenseLabels
from labelcast_producers.encoding import label_set_writer
from labelcast_producers.encoding.label_set_writer import write_label_set
from labelcast_producers.neural.chosen_encoder import choose_encoder
from labelcast_producers.neural.encoding_threads import map_in_threads
from tests.factories.dense import CLASSES, write_dense
from tests.factories.fitted import fit_file


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_the_order_of_their_items(threads: int) -> None:
    later = threading.Event()

    def work(item: int) -> int:
        if threads > 1 and item == 0:
            # The first ends after the second has begun.
            assert later.wait(timeout=60)
        if item == 1:
            later.set()
        return item * item

    with torch_threads(threads):
        assert list(map_in_threads(work, range(20))) == [item * item for item in range(20)]
        assert torch.get_num_threads() == threads


def test_each_item_has_one_core() -> None:
    with torch_threads(3):
        seen = list(map_in_threads(lambda _: torch.get_num_threads(), range(6)))
        assert seen == [1] * 6
        assert torch.get_num_threads() == 3


def test_items_are_read_when_there_is_room_for_them() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            read.append(item)
            yield item

    with torch_threads(2):
        results = map_in_threads(lambda item: item, items())
        for taken in range(10):
            assert next(results) == taken
            assert len(read) <= taken + 3
        results.close()
    assert len(read) < 20


def test_the_first_item_that_fails_is_the_one_that_is_told() -> None:
    def work(item: int) -> int:
        if item >= 3:
            raise ValueError(f"item {item}")
        return item

    done: list[int] = []
    with torch_threads(4):
        with pytest.raises(ValueError, match="item 3"):
            done.extend(map_in_threads(work, range(20)))
        assert torch.get_num_threads() == 4
    assert done == [0, 1, 2]


def test_any_number_of_cores_writes_the_same_label_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_set_writer, "_BLOCK_BYTES", 7 * 4 * CLASSES)
    dense = DenseLabels.open(write_dense(tmp_path))
    assert isinstance(dense.rows, LabelFile)
    fit_file(dense.rows.path, tmp_path / "codec", steps=40)
    digests = set()
    for threads in (1, 2, 5):
        with torch_threads(threads):
            chosen = choose_encoder(
                str(tmp_path / "codec"), dense.description, temperature=1.0, device="cpu"
            )
            label_set = write_label_set(
                dense, chosen.encoder, tmp_path / str(threads), artifact=chosen.artifact
            )
        digests.add(label_set.digest)
    assert len(digests) == 1
