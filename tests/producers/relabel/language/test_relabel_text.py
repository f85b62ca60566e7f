"""A causal model's predictions become a label set whose labels are those of the model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from labelcast.errors import InvalidRequestError, LabelValueError
from labelcast.label_set.fingerprints import token_fingerprint
from labelcast.label_set.language import LanguageContract
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.views import Views
from labelcast_producers.relabel.language.text.sequences import TokenSequences
from tests.factories.language_models import (
    COLUMNS,
    TOKENS,
    VOCABULARY,
    Headless,
    Recurrent,
    Wrapped,
    label,
    some_sequences,
)


def wanted_logits(module: torch.nn.Module, tokens: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        given = module(torch.from_numpy(tokens.astype(np.int64))[None])
    logits: np.ndarray = given[0, :, :VOCABULARY].numpy()
    return logits


def language_of(label_set: LabelSetDirectory) -> LanguageContract:
    language = label_set.manifest.contract.language
    assert language is not None
    return language


def decoded(label_set: LabelSetDirectory, sample: int, length: int) -> np.ndarray:
    positions = np.arange(length, dtype=np.uint32)
    views = Views(np.full(length, sample, dtype=np.uint64), positions)
    return label_set.decoder().decode(label_set.gather(views), views)


@pytest.mark.parametrize(("codec", "tolerance"), [("hidden:fp32", 1e-4), ("hidden:int8", 0.1)])
def test_labels_are_the_models_own(codec: str, tolerance: float, tmp_path: Path) -> None:
    sequences, module = some_sequences(), Recurrent(bias=True)
    done = label(tmp_path, module, codec=codec)
    assert done.padding == COLUMNS - VOCABULARY
    read = LabelSetDirectory(tmp_path)
    for sample in range(len(sequences)):
        wanted = wanted_logits(Recurrent(bias=True), sequences[sample])
        found = decoded(read, sample, len(sequences[sample]))
        assert np.abs(found - wanted).max() < tolerance


def test_the_figure_is_that_of_the_next_tokens(tmp_path: Path) -> None:
    sequences, found = some_sequences(), []
    done = label(tmp_path, codec="hidden:fp32")
    for tokens in sequences:
        logs = torch.from_numpy(wanted_logits(Recurrent(), tokens)).log_softmax(1).numpy()
        found += [logs[at, tokens[at + 1]] for at in range(len(tokens) - 1)]
    assert done.next_token.positions == len(found)
    assert done.next_token.mean == pytest.approx(np.mean(found), abs=1e-4)
    assert done.next_token.deviation == pytest.approx(np.std(found), abs=1e-4)


def test_the_contract_names_tokens_padding_and_head(tmp_path: Path) -> None:
    sequences, module = some_sequences(), Recurrent()
    label(tmp_path, module)
    read = LabelSetDirectory(tmp_path)
    language = language_of(read)
    assert language.padding == COLUMNS - VOCABULARY
    assert language.tokenizer_name == TOKENS.name
    head = read.head()
    assert head is not None
    assert language.head == head.spec
    head.verify()
    weights = module.lm_head.weight[:VOCABULARY].detach().numpy()
    np.testing.assert_array_equal(head.weights(0, VOCABULARY), weights)
    prints = read.fingerprints()
    assert prints is not None
    assert prints.values.tolist() == [token_fingerprint(tokens) for tokens in sequences]


def test_a_head_may_be_named_alone(tmp_path: Path) -> None:
    label(tmp_path / "named", ship_head=False)
    label(tmp_path / "shipped")
    named = LabelSetDirectory(tmp_path / "named")
    shipped = LabelSetDirectory(tmp_path / "shipped")
    assert named.manifest.head is None
    assert named.manifest.contract == shipped.manifest.contract


def test_probabilities_need_no_head(tmp_path: Path) -> None:
    sequences = some_sequences()
    label(tmp_path, codec=f"topk:{VOCABULARY}")
    read = LabelSetDirectory(tmp_path)
    assert language_of(read).head is None
    wanted = torch.from_numpy(wanted_logits(Recurrent(), sequences[2])).softmax(1).numpy()
    assert np.abs(decoded(read, 2, len(sequences[2])) - wanted).max() < 0.05


def test_masked_tokens_have_the_probability_0(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="as after a mask"):
        label(tmp_path, Recurrent(masked=200))
    with pytest.raises(InvalidRequestError, match="are not known; keep probabilities with a codec"):
        label(tmp_path, Recurrent(masked=200), own_logits=True)
    label(tmp_path, Recurrent(masked=200), codec="topk:200:zero", own_logits=True)
    sequences = some_sequences()
    found = decoded(LabelSetDirectory(tmp_path), 2, len(sequences[2]))
    wanted = torch.from_numpy(wanted_logits(Recurrent(masked=200), sequences[2])).softmax(1).numpy()
    assert not found[:, 200:].any()
    assert np.abs(found - wanted).max() < 0.05


def test_a_model_without_a_known_head_gives_probabilities(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="has no lm_head that is a"):
        label(tmp_path, Headless())
    label(tmp_path, Headless(), codec="topk:32", own_logits=True)


def test_a_factor_that_nothing_names_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="keep probabilities of its own logits with a"):
        label(tmp_path, Recurrent(factor=1.1))
    label(tmp_path, Recurrent(factor=1.1), codec="topk:32", own_logits=True)


def test_a_model_that_sees_ahead_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="name a causal model without dropout"):
        label(tmp_path, Recurrent(later=True))
    label(tmp_path, Recurrent(later=False))


def test_a_state_that_is_no_number_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabelValueError, match="check its weights, or compute in another type"):
        label(tmp_path, Recurrent(sick=0))
    # The proof shows it two batches, the calibration more.
    with pytest.raises(LabelValueError, match=r"NaN or infinity|not finite after"):
        label(tmp_path, Recurrent(sick=6), codec="hidden:fp16")


def test_another_tokenizer_is_refused(tmp_path: Path) -> None:
    large = replace(TOKENS, tokens=tuple(f"t{number}" for number in range(COLUMNS + 1)))
    with pytest.raises(InvalidRequestError, match="give the model's own with --tokenizer"):
        label(tmp_path, tokenizer=large)
    wrong = TokenSequences(np.full(9, COLUMNS, np.uint32), np.array([9], np.uint32), "wrong")
    with pytest.raises(InvalidRequestError, match="fewer with --batch-tokens, or check its"):
        label(tmp_path, sequences=wrong, tokenizer=large)
    # A few tokens less are padding, many are another model's.
    with pytest.raises(InvalidRequestError, match="declare the columns that no token has with"):
        label(tmp_path, Recurrent(columns=600))
    with pytest.raises(InvalidRequestError, match="--padding 300"):
        label(tmp_path, Recurrent(columns=600), padding=299)
    assert label(tmp_path, Recurrent(columns=600), padding=300).padding == 300


def test_tokens_are_kept_on_request_alone(tmp_path: Path) -> None:
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    sequences = some_sequences()
    label(tmp_path / "without")
    label(tmp_path / "with", keep_tokens=True)
    assert not (tmp_path / "without" / "tokens.parquet").exists()
    assert not LabelSetDirectory(tmp_path / "without").report["tokens_kept"]
    assert LabelSetDirectory(tmp_path / "with").report["tokens_kept"]
    rows = pq.read_table(tmp_path / "with" / "tokens.parquet").to_pylist()
    assert [row["sample_id"] for row in rows] == list(range(len(sequences)))
    assert [row["input_ids"] for row in rows] == [each.tolist() for each in sequences]
    # Nor are those of an earlier run left where a later one does not mean to keep any.
    label(tmp_path / "with")
    assert not (tmp_path / "with" / "tokens.parquet").exists()


def test_nothing_of_a_run_is_left(tmp_path: Path) -> None:
    label(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blobs", "manifest.json"]


def test_a_batch_has_at_least_one_token(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="at least one token, not 0"):
        label(tmp_path, batch_tokens=0)


def test_a_head_of_two_names_is_found(tmp_path: Path) -> None:
    wrapped = label(tmp_path / "wrapped", Wrapped()).label_set.contract
    plain = label(tmp_path / "plain", Recurrent()).label_set.contract
    assert wrapped.language == plain.language
