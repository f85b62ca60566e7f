"""Rows of a batch: which tokens stand where, whose labels they ask for, and in which order."""

import json
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from labelcast.errors import (
    ContractMismatchError,
    DifferentTokensError,
    InvalidRequestError,
)
from labelcast.label_set.fingerprints import (
    FingerprintKind,
    SampleFingerprints,
    token_fingerprint,
)
from labelcast.plans import Padding
from labelcast.torch.tokens.data.batch import IGNORED, PADDING, TokenRows
from labelcast.torch.tokens.data.packing import Packing, pack
from labelcast.torch.tokens.data.rows import RowTokens
from labelcast.torch.tokens.data.sequences import TokenSequences
from labelcast.torch.tokens.data.shown import ShownTokens
from labelcast.torch.tokens.data.token_plan import TokenPlan

VOCABULARY = 300


def sequences(count: int = 40, longest: int = 50, seed: int = 0) -> TokenSequences:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest, count)
    parts = [rng.integers(0, VOCABULARY, length) for length in lengths]
    counted = [rng.random(length) < 0.8 for length in lengths]
    ids = rng.permutation(count).astype(np.uint64) + np.uint64(2**63)
    return TokenSequences.of(parts, sample_ids=ids, counted=counted)


def rows_of(texts: TokenSequences, row_length: int = 64, *, packed: bool = True) -> Packing:
    assert texts.counted is not None
    needed = np.concatenate([[0], np.cumsum(texts.counted)])
    order = np.arange(len(texts))[::-1]
    return pack(texts.lengths, row_length, order=order, packed=packed, needed=needed)


def plan_of(texts: TokenSequences, packing: Packing, **options: object) -> TokenPlan:
    assert texts.counted is not None
    settings = {"epochs": 3, "batch_size": 4, "order_key": 5, **options}
    return TokenPlan(texts, packing, texts.counted, **settings)  # type: ignore[arg-type]


def batches_of(
    texts: TokenSequences, plan: TokenPlan, *, fixed_length: bool = True
) -> list[TokenRows]:
    assert texts.counted is not None
    shown = ShownTokens(texts, vocabulary=VOCABULARY, fingerprints=None)
    read = RowTokens(
        texts, plan.packing, texts.counted, shown=shown, pad_token=0, fixed_length=fixed_length
    )
    return [read[planned] for planned in plan]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=300), st.integers(1, 90), st.booleans())
def test_every_token_stands_in_one_place(lengths: list[int], row_length: int, packed: bool) -> None:
    sizes = np.array(lengths)
    order = np.random.default_rng(0).permutation(len(sizes))
    packing = pack(sizes, row_length, order=order, packed=packed)
    filled = [int(packing.lengths[packing.parts(row)].sum()) for row in range(len(packing))]
    assert 0 < min(filled) <= max(filled) <= row_length
    seen = sorted(
        (sample, first + place)
        for sample, first, length in zip(
            packing.samples, packing.firsts, packing.lengths, strict=True
        )
        for place in range(length)
    )
    assert seen == [(sample, at) for sample, n in enumerate(lengths) for at in range(n)]
    # Only the last part of a long sample is shorter than a row.
    assert (packing.firsts % row_length == 0).all()
    if not packed:
        assert len(packing) == len(packing.samples)
    again = pack(sizes, row_length, order=order, packed=packed)
    assert again.digest() == packing.digest()


def test_parts_go_into_the_first_row_that_has_room() -> None:
    packing = pack(np.array([6, 5, 4, 3, 2, 10]), 10, order=np.arange(6))
    rows = [packing.samples[packing.parts(row)].tolist() for row in range(len(packing))]
    assert rows == [[0, 2], [1, 3, 4], [5]]
    assert repr(packing) == "<Packing: 3 rows of 10, 100.0% filled>"


def test_many_texts_fill_nearly_every_place() -> None:
    lengths = np.random.default_rng(1).integers(20, 600, 20_000)
    packing = pack(lengths, 1024, order=np.arange(len(lengths)))
    assert lengths.sum() / (len(packing) * 1024) > 0.98


def test_a_part_without_labels_is_not_read() -> None:
    given = TokenSequences.of([[1, 2, 3], [4, 5]], counted=[[False] * 3, [False, True]])
    packing = rows_of(given)
    assert packing.samples.tolist() == [1]
    nothing = TokenSequences.of([[1, 2]], counted=[[False, False]])
    with pytest.raises(InvalidRequestError, match="check the mask of positions"):
        rows_of(nothing)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("row_length", [64, 16])
def test_places_and_labels_belong_together(packed: bool, row_length: int) -> None:
    texts = sequences()
    plan = plan_of(texts, rows_of(texts, row_length, packed=packed), epochs=1)
    tokens = {
        (int(sample_id), at): int(token)
        for number, sample_id in enumerate(texts.sample_ids)
        for at, token in enumerate(texts.part(number))
    }
    asked: list[tuple[int, int]] = []
    for batch in batches_of(texts, plan, fixed_length=packed):
        views = list(zip(batch.views.sample_ids.tolist(), batch.views.seeds.tolist(), strict=True))
        asked += views
        assert int(batch.counted.sum()) == len(views)
        # The token that stands where a label is asked for is that of the label's position.
        assert batch.input_ids[batch.counted].tolist() == [tokens[view] for view in views]
        following = batch.next_tokens[batch.counted].tolist()
        for (sample, at), token in zip(views, following, strict=True):
            ends_here = (at + 1) % row_length == 0 or (sample, at + 1) not in tokens
            assert token == (IGNORED if ends_here else tokens[sample, at + 1])
        assert not batch.counted[batch.documents == PADDING].any()
    assert texts.counted is not None
    wanted = [view for view, counts in zip(tokens, texts.counted, strict=True) if counts]
    assert sorted(asked) == sorted(wanted)


def test_documents_are_kept_apart() -> None:
    texts = TokenSequences.of([[1, 2, 3], [4, 5], [6]], counted=[[True] * 3, [True] * 2, [True]])
    packing = pack(texts.lengths, 8, order=np.arange(3))
    (batch,) = batches_of(texts, plan_of(texts, packing, epochs=1))
    assert batch.input_ids.tolist() == [[1, 2, 3, 4, 5, 6, 0, 0]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 0, 1, 0, 0, 1]]
    assert batch.documents.tolist() == [[0, 0, 0, 1, 1, 2, PADDING, PADDING]]
    assert batch.next_tokens.tolist() == [[2, 3, IGNORED, 5, IGNORED, IGNORED, IGNORED, IGNORED]]
    sees = batch.attention_mask[0, 0]
    assert sees[4].tolist() == [False, False, False, True, True, False, False, False]
    # A row of a mask that is False everywhere would make a softmax NaN.
    assert sees.any(dim=1).all()
    assert batch.to("cpu").input_ids.equal(batch.input_ids)
    assert repr(batch) == "<TokenRows: 1 rows of 8, 6 labels>"


@pytest.mark.parametrize("padding", [Padding.REPEAT, Padding.DROP])
def test_ranks_share_an_epoch(padding: Padding) -> None:
    texts = sequences(60)
    packing = rows_of(texts)
    alone = plan_of(texts, packing, batch_size=6, padding=padding)
    ranks = [
        plan_of(texts, packing, batch_size=2, padding=padding, rank=rank, num_ranks=3)
        for rank in range(3)
    ]
    assert len({len(plan) for plan in ranks}) == 1
    whole = [set(planned.rows.tolist()) for planned in alone.epoch(0)]
    steps = [
        set(np.concatenate([part.rows[~part.repeated] for part in parts]).tolist())
        for parts in zip(*(plan.epoch(0) for plan in ranks), strict=True)
    ]
    for mine, theirs in zip(steps, whole, strict=False):
        assert mine == theirs or (padding is Padding.DROP and mine < theirs)


def test_epochs_differ_and_have_equally_many_steps() -> None:
    texts = sequences()
    plan = plan_of(texts, rows_of(texts))
    epochs = [[planned.rows.tolist() for planned in plan.epoch(number)] for number in range(3)]
    assert len({len(epoch) for epoch in epochs}) == 1
    assert epochs[0] != epochs[1] != epochs[2]
    rows = [sorted(chain(*epoch)) for epoch in epochs]
    assert rows[0] == rows[1] == rows[2] == list(range(len(plan.packing)))


def test_a_run_goes_on_at_any_batch_and_under_other_ranks() -> None:
    texts = sequences(60)
    packing = rows_of(texts)
    whole = plan_of(texts, packing)
    all_rows = [planned.rows.tolist() for planned in whole]
    for number, planned in enumerate(whole):
        state = json.loads(json.dumps(whole.state_at(planned.next_position)))
        rest = plan_of(texts, packing).resumed(state)
        assert [each.rows.tolist() for each in rest] == all_rows[number + 1 :]
    state = whole.state_at(whole.start)
    halves = [plan_of(texts, packing, batch_size=2, rank=r, num_ranks=2) for r in range(2)]
    first = [next(iter(half.resumed(state))).rows.tolist() for half in halves]
    assert sorted(chain(*first)) == sorted(all_rows[0])


def test_a_state_of_other_rows_is_refused() -> None:
    texts = sequences()
    state = plan_of(texts, rows_of(texts)).state_at(plan_of(texts, rows_of(texts)).start)
    advice = "give the sequences, mask and row_length that the run began with"
    other = TokenSequences.of(
        [texts.part(number) for number in range(len(texts))],
        sample_ids=texts.sample_ids[::-1],
    )
    other.counted = texts.counted
    with pytest.raises(InvalidRequestError, match=advice):
        plan_of(other, rows_of(other)).resumed(state)
    shifted = pack(texts.lengths, 64, order=np.roll(np.arange(len(texts)), 1))
    if len(shifted) == len(rows_of(texts)):
        with pytest.raises(InvalidRequestError, match=advice):
            plan_of(texts, shifted).resumed(state)


def test_tokens_are_compared_when_they_are_first_shown() -> None:
    texts = sequences()
    values = [token_fingerprint(texts.part(number)) for number in range(len(texts))]
    order = np.argsort(texts.sample_ids)
    known = SampleFingerprints(
        FingerprintKind.TOKENS,
        texts.sample_ids[order],
        np.array(values, dtype=np.uint64)[order],
    )
    shown = ShownTokens(texts, vocabulary=VOCABULARY, fingerprints=known)
    for number in range(len(texts)):
        shown.check(number)
    changed: NDArray[np.integer] = texts.tokens.copy()
    changed[texts.offsets[3]] ^= 1
    other = TokenSequences(texts.sample_ids, changed, texts.lengths)
    shown = ShownTokens(other, vocabulary=VOCABULARY, fingerprints=known)
    shown.check(2)
    with pytest.raises(DifferentTokensError, match="or make labels of these") as raised:
        shown.check(3)
    assert raised.value.facts["sample_id"] == str(texts.sample_ids[3])


def test_tokens_of_a_larger_vocabulary_are_refused() -> None:
    texts = TokenSequences.of([[1, 2], [3, 300]])
    shown = ShownTokens(texts, vocabulary=VOCABULARY, fingerprints=None)
    shown.check(0)
    with pytest.raises(ContractMismatchError, match="use the tokenizer that the labels were made"):
        shown.check(1)


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (lambda: TokenSequences.of([]), "at least one sample"),
        (lambda: TokenSequences.of([[1], []]), "leave empty sequences out"),
        (lambda: TokenSequences.of([[1], [2]], sample_ids=[7, 7]), "give each an ID of its own"),
        (lambda: TokenSequences.of([[1.5]]), "give each as integers of shape"),
        (lambda: TokenSequences.of([[-1]]), "give what a tokenizer gives"),
        (lambda: TokenSequences.of([[1, 2]], counted=[[True]]), "give one bool for each token"),
        (lambda: TokenSequences.of([[1, 2]], counted=[[-100, 2]]), "give labels != -100"),
        (lambda: TokenSequences.of([[1, 2]], counted=[["no", "no"]]), "give labels != -100"),
        (lambda: TokenSequences.of([[1, 2]], sample_ids=[1, 2]), "give one of each for every"),
        (
            lambda: TokenSequences([1], np.arange(3), [2]),
            "give integers of shape .2,., the sum of the lengths",
        ),
        (
            lambda: TokenSequences([1], np.arange(2), [2], np.ones(3, np.bool_)),
            "give a bool for each token",
        ),
        (lambda: pack(np.array([1]), 0, order=np.arange(1)), "must be at least 1"),
    ],
)
def test_what_cannot_be_read_is_refused(make, advice) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InvalidRequestError, match=advice):
        make()


def test_of_a_column_of_labels_those_that_are_no_label_do_not_count() -> None:
    """What the refusal says, and numbers that can mean one thing alone."""
    labels = np.array([-100, 5, 0])
    by_labels = TokenSequences.of([[1, 5, 0]], counted=[labels != -100])
    by_numbers = TokenSequences.of([[1, 5, 0]], counted=[[0, 1, 1]])
    for known in (by_labels.counted, by_numbers.counted):
        assert known is not None
        assert known.tolist() == [False, True, True]


def test_unpacked_rows_are_as_long_as_the_longest() -> None:
    texts = sequences()
    plan = plan_of(texts, rows_of(texts, packed=False), epochs=1)
    for batch in batches_of(texts, plan, fixed_length=False):
        assert batch.input_ids.shape[1] == int((batch.documents != PADDING).sum(dim=1).max())
        assert torch.equal(batch.documents.max(dim=1).values, torch.zeros(len(batch.repeated)))
