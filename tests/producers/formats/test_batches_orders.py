"""Which view a stored label is of: permutations drawn again, lists of samples, greedy seeds."""

import contextlib
import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labelcast.errors import InvalidRequestError, LabelFileError
from labelcast.label_set import SampleOrder
from labelcast.views import Views
from labelcast_producers.formats.batches import LPQLDImporter, SRe2LImporter
from labelcast_producers.formats.batches.numbering import greedy_seeds
from labelcast_producers.formats.batches.orders import read_orders, sampler_orders
from labelcast_producers.formats.source import ImportOptions, PermutationDraws
from tests.producers.formats.writers.lpqld import write_lpqld
from tests.producers.formats.writers.sre2l import write_sre2l

ONE, TWO, AUTO = PermutationDraws.ONE, PermutationDraws.TWO, PermutationDraws.AUTO
SMALL: dict[str, Any] = {"samples": 10, "epochs": 3, "batch_size": 4, "classes": 12}


@pytest.mark.parametrize("seed", [42, 7])
def test_orders_are_those_of_torchs_sampler(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randperm(50, generator=generator).tolist() for _ in range(6)]
    for draws, expected in ((ONE, drawn[:3]), (TWO, drawn[::2]), (AUTO, drawn[::2])):
        orders = [order.tolist() for order in islice(sampler_orders(50, draws, seed), 3)]
        assert orders == expected


def test_orders_do_not_touch_the_global_generator() -> None:
    before = torch.get_rng_state()
    next(sampler_orders(10, TWO, 42))
    assert torch.equal(before, torch.get_rng_state())


def test_draws_agree_in_the_first_epoch_alone(tmp_path: Path) -> None:
    truth = write_sre2l(tmp_path, **SMALL)
    parts = {}
    for draws in (ONE, TWO, AUTO):
        source = SRe2LImporter().open(tmp_path, ImportOptions(draws=draws))
        assert source.facts.order is SampleOrder.UNVERIFIED
        views = source.facts.index.views_at(np.concatenate([part.rows for part in source.parts]))
        parts[draws] = views.sample_ids.tolist()
    assert parts[AUTO] == parts[TWO] == truth.sample_ids.tolist()
    assert parts[ONE][:10] == parts[TWO][:10]
    assert parts[ONE][10:20] != parts[TWO][10:20]


def test_another_sampler_seed(tmp_path: Path) -> None:
    write_sre2l(tmp_path, **SMALL)
    source = SRe2LImporter().open(tmp_path, ImportOptions(sampler_seed=1))
    order = next(sampler_orders(10, TWO, 1))
    index = source.facts.index
    assert index.views_at(source.parts[0].rows).sample_ids.tolist() == order[:4].tolist()


def test_parts_go_seed_by_seed(tmp_path: Path) -> None:
    write_lpqld(tmp_path, **SMALL)
    options = ImportOptions(class_names=tuple("abcdefghijkl"))
    source = LPQLDImporter().open(tmp_path, options)
    rows = np.concatenate([part.rows for part in source.parts])
    assert sorted(rows.tolist()) == list(range(source.facts.index.num_rows))
    assert (np.diff(source.facts.index.views_at(rows).seeds.astype(np.int64)) >= 0).all()


@pytest.mark.parametrize("count", [10, 11])
def test_one_epoch_that_was_cut_short(count: int, tmp_path: Path) -> None:
    write_sre2l(tmp_path, **SMALL | {"samples": count, "epochs": 1, "drop_last": True})
    (tmp_path / "epoch_0" / "batch_1.tar").unlink()
    source = SRe2LImporter().open(tmp_path, ImportOptions(num_samples=count))
    order = next(sampler_orders(count, TWO, 42))
    views = source.facts.index.views_at(source.parts[0].rows)
    assert views.sample_ids.tolist() == order[:4].tolist()
    with pytest.raises(InvalidRequestError, match="an epoch has 4 views"):
        SRe2LImporter().open(tmp_path, ImportOptions(num_samples=3))


def test_several_epochs_that_all_lack_a_batch(tmp_path: Path) -> None:
    write_sre2l(tmp_path, **SMALL | {"samples": 12})
    for path in tmp_path.glob("*/batch_2.tar"):
        path.unlink()
    with pytest.raises(InvalidRequestError, match=r"an epoch has 8 views.*count 12"):
        SRe2LImporter().open(tmp_path, ImportOptions(num_samples=12))


def test_greedy_seeds() -> None:
    def seeds(*batches: list[int]) -> list[int]:
        return greedy_seeds([np.array(batch) for batch in batches])

    assert seeds([0, 1], [2, 3], [1, 0], [3, 2]) == [0, 0, 1, 1]
    # A dropped sample comes first in the next epoch: its batch goes with its other samples.
    assert seeds([0, 1], [2, 3], [4, 0], [1, 2]) == [0, 0, 1, 1]
    # Where a whole batch is new, nothing tells that an epoch began: it is unique either way.
    assert seeds([0, 1], [2, 3], [0, 1]) == [0, 0, 1]
    assert seeds([0, 1], [0, 1], [0, 1]) == [0, 1, 2]


@given(
    st.lists(
        st.lists(st.integers(0, 15), min_size=1, max_size=4, unique=True), min_size=1, max_size=20
    )
)
def test_greedy_seeds_hold_each_sample_once(batches: list[list[int]]) -> None:
    seeds = greedy_seeds([np.array(batch) for batch in batches])
    assert seeds == sorted(seeds)
    views = [(seed, n) for seed, batch in zip(seeds, batches, strict=True) for n in batch]
    assert len(set(views)) == len(views)


@given(
    lists=st.dictionaries(
        st.integers(0, 10**9 - 1), st.lists(st.integers(0, 10**15), max_size=5), min_size=1
    ),
    indent=st.sampled_from([None, 0, 2]),
    separators=st.sampled_from([None, (",", ":"), (" , ", " : ")]),
)
def test_lists_of_samples_are_read_as_json(
    tmp_path_factory: pytest.TempPathFactory,
    lists: dict[int, list[int]],
    indent: int | None,
    separators: tuple[str, str] | None,
) -> None:
    path = tmp_path_factory.getbasetemp() / "listed.json"
    path.write_text("\n" + json.dumps(lists, indent=indent, separators=separators) + "\n")
    found = read_orders(path)
    assert {number: ids.tolist() for number, ids in found.items()} == lists


@given(st.text(alphabet='{}[]":, 019\n-.a', max_size=30))
def test_garbage_is_no_list_of_samples(
    tmp_path_factory: pytest.TempPathFactory, content: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.json"
    path.write_text(content)
    # Anything else would be a fault of the reader.
    with contextlib.suppress(LabelFileError):
        found = read_orders(path)
        assert all(ids.dtype == np.int64 for ids in found.values())


def test_a_missing_list_of_samples(tmp_path: Path) -> None:
    with pytest.raises(LabelFileError, match="cannot read"):
        read_orders(tmp_path / "none.json")


def test_seeds_of_flat_batches_are_the_epochs(tmp_path: Path) -> None:
    truth = write_lpqld(tmp_path, **SMALL | {"epochs": 2.5, "samples": 11})
    options = ImportOptions(class_names=tuple("abcdefghijkl"))
    index = LPQLDImporter().open(tmp_path, options).facts.index
    assert index.rows(Views(truth.sample_ids, truth.seeds))[1].all()
    assert index.num_rows == len(truth)
