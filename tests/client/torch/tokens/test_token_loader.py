"""Tokens and labels of a label set, joined: right ones pass, and every shift is noticed."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from labelcast.errors import (
    ContractMismatchError,
    DifferentTokensError,
    InvalidRequestError,
    MisalignedLabelsError,
    ViewNotFoundError,
)
from labelcast.label_set.language import NextTokenFigure, tokenizer_digest
from labelcast.label_set.student_side import UNCHECKED
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.torch import CodedLabels
from labelcast.torch.tokens.data.batch import TokenBatch
from labelcast.torch.tokens.data.canary import NextTokenCanary
from labelcast.torch.tokens.data.sequences import TokenSequences
from labelcast.torch.tokens.data.student_side import (
    UncomparedTokensWarning,
    require_same_tokenizer,
)
from labelcast.torch.tokens.data.token_loader import TokenLoader
from tests.factories.label_sets import make_label_set
from tests.factories.sequence_sets import TOKENS, make_sequence_set
from tests.factories.tiny_language_model import label_texts, logits_of, tiny_model, written_by

TOKENIZER = tokenizer_digest(TOKENS)


class Taught:
    """Texts of one teacher, and their labels."""

    def __init__(self, directory: Path) -> None:
        self.teacher = tiny_model()
        lengths = np.random.default_rng(0).integers(8, 40, 80)
        self.texts = written_by(self.teacher, lengths.tolist())
        self.sample_ids = 10 + 3 * np.arange(len(self.texts), dtype=np.uint64)
        self.label_set = label_texts(directory, self.teacher, self.texts)
        self.sequences = TokenSequences.of(self.texts, sample_ids=self.sample_ids)

    def loader(self, sequences: TokenSequences | None = None, **options: Any) -> TokenLoader:
        settings: dict[str, Any] = {
            "tokenizer": TOKENIZER,
            "epochs": 2,
            "batch_size": 4,
            "row_length": 64,
        }
        given = self.sequences if sequences is None else sequences
        return TokenLoader(given, self.label_set, **(settings | options))


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Taught:
    return Taught(tmp_path_factory.mktemp("taught"))


def decoded(batch: TokenBatch) -> torch.Tensor:
    return batch.labels.decode()


@pytest.mark.parametrize(
    "options",
    [{}, {"packed": False}, {"row_length": 16}, {"count_last": True}, {"token_workers": 1}],
    ids=str,
)
def test_every_label_is_of_the_token_it_stands_at(taught: Taught, options: dict[str, Any]) -> None:
    expected = {
        int(sample_id): logits_of(taught.teacher, text)
        for sample_id, text in zip(taught.sample_ids, taught.texts, strict=True)
    }
    loader = taught.loader(epochs=1, **options)
    labels = 0
    for batch in loader:
        views = zip(batch.views.sample_ids.tolist(), batch.views.seeds.tolist(), strict=True)
        wanted = torch.stack([expected[sample][at] for sample, at in views])
        torch.testing.assert_close(decoded(batch), wanted)
        labels += len(batch.views)
    tokens = sum(map(len, taught.texts))
    assert labels == tokens - (0 if options.get("count_last") else len(taught.texts))


def test_documents_of_a_row_do_not_see_each_other(taught: Taught) -> None:
    # The teacher's own predictions, made in packed rows, are those of each text on its own.
    for batch in taught.loader(epochs=1):
        with torch.no_grad():
            # A model that keeps a cache would not look at where documents begin.
            places = {"position_ids": batch.position_ids, "use_cache": False}
            logits = taught.teacher(batch.input_ids, **places).logits
            masked = taught.teacher(batch.input_ids, attention_mask=batch.attention_mask, **places)
        torch.testing.assert_close(masked.logits, logits, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(logits[batch.counted], decoded(batch), rtol=1e-4, atol=1e-4)


def test_a_run_goes_on_where_it_was_stopped(taught: Taught) -> None:
    whole = [batch.input_ids for batch in taught.loader()]
    loader, seen = taught.loader(), list[torch.Tensor]()
    for batch in loader:
        seen.append(batch.input_ids)
        if len(seen) == 3:
            break
    again = taught.loader()
    again.load_state_dict(loader.state_dict())
    assert again.position == loader.position
    seen += [batch.input_ids for batch in again]
    assert all(one.equal(other) for one, other in zip(seen, whole, strict=True))
    assert len(taught.loader()) == len(whole)
    by_epoch = taught.loader()
    by_epoch.set_epoch(1)
    assert len(by_epoch) == len(list(by_epoch)) == len(whole) // 2


def test_a_state_of_other_labels_is_refused(taught: Taught, tmp_path: Path) -> None:
    other = label_texts(tmp_path, tiny_model(1), taught.texts)
    elsewhere = TokenLoader(
        taught.sequences, other, tokenizer=TOKENIZER, epochs=2, batch_size=4, row_length=64
    )
    with pytest.raises(InvalidRequestError, match="open the label set by the digest"):
        elsewhere.load_state_dict(taught.loader().state_dict())


# What a student may do wrong, and what it does to the labels of a batch.
def shifted(by: int) -> Callable[[TokenBatch], TokenBatch]:
    """Labels of the positions before or after."""

    def change(batch: TokenBatch) -> TokenBatch:
        rolled = batch.labels.rows.roll(by, dims=0)
        return replace(batch, labels=CodedLabels.of(batch.labels.decoder, rolled))

    return change


def with_mask_shifted(batch: TokenBatch) -> TokenBatch:
    return replace(batch, counted=batch.counted.roll(1, dims=1))


def with_other_text(batch: TokenBatch) -> TokenBatch:
    return replace(batch, input_ids=batch.input_ids.flip(0))


def of_other_samples(batch: TokenBatch) -> TokenBatch:
    turned = batch.labels.rows.roll(len(batch.labels) // 2, dims=0)
    return replace(batch, labels=CodedLabels.of(batch.labels.decoder, turned))


def watched(
    taught: Taught, change: Callable[[TokenBatch], TokenBatch], *, order_key: int = 0
) -> None:
    figure = NextTokenFigure.from_report(taught.label_set.report)
    assert figure is not None
    canary, codec = NextTokenCanary(figure), taught.label_set.codec()
    for batch in taught.loader(epochs=1, order_key=order_key, canary=UNCHECKED):
        canary.watch(change(batch), codec)


@pytest.mark.parametrize(
    "change",
    [shifted(1), shifted(-1), with_mask_shifted, with_other_text, of_other_samples],
    ids=["one later", "one earlier", "mask shifted", "other text", "other samples"],
)
def test_labels_of_other_positions_are_noticed(
    taught: Taught, change: Callable[[TokenBatch], TokenBatch]
) -> None:
    with pytest.raises(MisalignedLabelsError, match="check tokenizer, sample IDs, mask") as raised:
        watched(taught, change)
    facts = raised.value.facts
    assert float(facts["observed"]) < float(facts["expected"]) - 2


def test_right_labels_raise_no_alarm_from_any_start(taught: Taught) -> None:
    for order_key in range(300):
        watched(taught, lambda batch: batch, order_key=order_key)


def test_other_tokens_are_refused_when_they_are_shown(taught: Taught) -> None:
    # Every sample under the ID of the next one, which has as many tokens.
    order = np.argsort([len(text) for text in taught.texts], kind="stable")
    ids = taught.sample_ids.copy()
    lengths = np.array([len(taught.texts[place]) for place in order])
    for first, second in pairwise(order):
        if len(taught.texts[first]) == len(taught.texts[second]):
            ids[first], ids[second] = ids[second], ids[first]
    assert len(np.unique(lengths)) < len(lengths)
    other = TokenSequences.of(taught.texts, sample_ids=ids)
    with pytest.raises(DifferentTokensError, match="or make labels of these"):
        list(taught.loader(other))
    # Nobody who says that he compares no tokens is left to luck: the labels say so too.
    changed = TokenSequences(
        taught.sample_ids, np.roll(taught.sequences.tokens, 1), taught.sequences.lengths
    )
    with pytest.raises(MisalignedLabelsError):
        list(taught.loader(changed, fingerprints=UNCHECKED))


def test_samples_of_other_lengths_are_refused(taught: Taught) -> None:
    longer = TokenSequences.of(
        [np.append(text, 1) for text in taught.texts], sample_ids=taught.sample_ids
    )
    with pytest.raises(DifferentTokensError, match="Cut texts and add special tokens as for"):
        taught.loader(longer)
    unknown = TokenSequences.of(taught.texts, sample_ids=taught.sample_ids + np.uint64(1))
    with pytest.raises(ViewNotFoundError):
        taught.loader(unknown)


def test_another_tokenizer_is_refused(taught: Taught) -> None:
    other = tokenizer_digest(TOKENS[::-1])
    with pytest.raises(ContractMismatchError, match="train a student with the teacher's") as raised:
        taught.loader(tokenizer=other)
    for named in (other, TOKENIZER, "three hundred"):
        assert named in raised.value.message
    assert len(taught.loader(tokenizer=UNCHECKED))


def test_positions_without_labels_do_not_count(taught: Taught, tmp_path: Path) -> None:
    labelled: NDArray[np.bool_] = (
        np.random.default_rng(3).random(taught.sequences.offsets[-1]) < 0.7
    )
    label_set = label_texts(tmp_path, taught.teacher, taught.texts, labelled=labelled)
    options: Any = {"tokenizer": TOKENIZER, "epochs": 1, "batch_size": 4, "row_length": 64}
    ends = np.zeros(len(labelled), np.bool_)
    ends[taught.sequences.offsets[1:] - 1] = True
    batches = list(TokenLoader(taught.sequences, label_set, **options))
    assert sum(len(batch.views) for batch in batches) == int((labelled & ~ends).sum())
    said = TokenSequences(
        taught.sample_ids, taught.sequences.tokens, taught.sequences.lengths, ~labelled
    )
    with pytest.raises(InvalidRequestError, match="leave such positions out of counted"):
        TokenLoader(said, label_set, **options)


def test_what_a_loader_cannot_compare_is_said(taught: Taught, tmp_path: Path) -> None:
    images, _ = make_label_set(tmp_path / "images")
    options: Any = {"tokenizer": TOKENIZER, "epochs": 1, "batch_size": 4, "row_length": 64}
    with pytest.raises(ContractMismatchError, match="use a label set of token sequences"):
        TokenLoader(taught.sequences, images, **options)
    policy_only = replace(taught.label_set.contract, language=None)
    with pytest.raises(ContractMismatchError, match="give tokenizer=UNCHECKED if you know"):
        require_same_tokenizer(policy_only, TOKENIZER)
    require_same_tokenizer(policy_only, UNCHECKED)
    short, _ = make_sequence_set(tmp_path / "short", lengths=[1] * 8)
    silent = TokenSequences.of([[1]] * 8, sample_ids=range(10, 34, 3))
    with pytest.raises(InvalidRequestError, match="encode it anew, or give canary=UNCHECKED"):
        TokenLoader(silent, short, count_last=True, **options)
    with pytest.raises(InvalidRequestError, match="must be a token from 0 to 299"):
        taught.loader(pad_token=300)


def test_a_label_set_without_fingerprints_is_warned_of(taught: Taught) -> None:
    class Unprinted(LabelSetDirectory):
        def fingerprints(self) -> None:
            return None

    unprinted = Unprinted(taught.label_set.directory)
    options: Any = {"tokenizer": TOKENIZER, "epochs": 1, "batch_size": 4, "row_length": 64}
    with pytest.warns(UncomparedTokensWarning, match="fingerprints=UNCHECKED"):
        TokenLoader(taught.sequences, unprinted, **options)
