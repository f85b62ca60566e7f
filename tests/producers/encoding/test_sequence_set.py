"""Label sets of token sequences: written as rows come, read back by sample and position."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import labelcast
from labelcast import Representation
from labelcast.codec.latent import Head, HeadDtype, HeadSpec, head_digest
from labelcast.errors import (
    CodecFormatError,
    ContractMismatchError,
    InvalidRequestError,
    LabelFileError,
    ManifestError,
    ViewNotFoundError,
)
from labelcast.label_set import Expectation, Manifest, to_canonical
from labelcast.label_set.fingerprints import FingerprintKind, token_fingerprint
from labelcast.label_set.language import NextTokenFigure, tokenizer_digest
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.opening.parts.heads import named_head, open_head
from labelcast.views import Views
from labelcast_producers.encoding.sequence_set import write_sequence_set
from tests.factories.sequence_sets import (
    TOKENS,
    VOCABULARY,
    describe,
    make_sequence_set,
    token_ids,
)

MASKS: dict[str, NDArray[np.bool_] | None] = {"all": None, "some": np.arange(18) % 4 != 1}


@pytest.mark.parametrize("labelled", MASKS.values(), ids=MASKS.keys())
@pytest.mark.parametrize("lengths", [(5, 1, 9, 3), (6, 6, 6)])
def test_labels_are_read_by_sample_and_position(
    tmp_path: Path, lengths: tuple[int, ...], labelled: NDArray[np.bool_] | None
) -> None:
    _, labels = make_sequence_set(tmp_path, lengths=lengths, labelled=labelled)
    label_set = labelcast.open(tmp_path)
    views = label_set.index().segments[0].views()
    backwards = np.arange(len(views))[::-1]
    asked = views[backwards]
    np.testing.assert_array_equal(
        label_set.labels(asked.sample_ids, asked.seeds), labels[backwards]
    )
    needed = {"language"} | ({"ragged"} if len(set(lengths)) > 1 else set())
    assert set(label_set.manifest.requires) == needed
    assert Manifest.from_bytes(label_set.manifest.to_bytes()) == label_set.manifest
    with pytest.raises(ViewNotFoundError):
        label_set.labels([10], [lengths[0]])
    for form in (Representation.codes(), Representation.probabilities(1.0)):
        with pytest.raises(InvalidRequestError, match="must not be empty"):
            next(iter(label_set.stream([views[:0]], form)))


def test_a_plan_leaves_out_sequences_without_labels(tmp_path: Path) -> None:
    """Such as conversations in which nobody answers."""
    labelled = np.ones(18, np.bool_)
    labelled[6:15] = False
    label_set, _ = make_sequence_set(tmp_path, labelled=labelled)
    plan = label_set.sequence_plan(epochs=2, order_key=None)
    views = label_set.index().segments[0].views()
    assert plan.views(0, len(plan)) == Views.joined([views, views])
    assert set(views.sample_ids.tolist()) == {10, 13, 19}


def test_it_says_whose_tokens_and_how_likely_the_next_one_is(tmp_path: Path) -> None:
    label_set, _ = make_sequence_set(tmp_path)
    contract = label_set.contract
    assert contract.language is not None
    assert contract.language.tokenizer == tokenizer_digest(TOKENS)
    label_set.manifest.require(Expectation(tokenizer=tokenizer_digest(TOKENS)))
    with pytest.raises(ContractMismatchError, match="tokenizer is sha256") as caught:
        label_set.manifest.require(Expectation(tokenizer=tokenizer_digest(TOKENS[:-1])))
    assert caught.value.facts["field"] == "tokenizer"
    figure = NextTokenFigure.from_report(label_set.report)
    assert figure is not None
    assert figure.positions == 14
    assert -3 < figure.mean < 0
    prints = label_set.fingerprints()
    assert prints is not None
    assert prints.kind is FingerprintKind.TOKENS
    wanted = [token_fingerprint(text) for text in token_ids((5, 1, 9, 3))]
    assert prints.values.tolist() == wanted


def test_a_manifest_that_hides_what_it_needs_is_refused(tmp_path: Path) -> None:
    label_set, _ = make_sequence_set(tmp_path)
    tree = json.loads(label_set.manifest.to_bytes())

    def refused(change: dict[str, Any], message: str) -> None:
        with pytest.raises(ManifestError, match=message):
            Manifest.from_bytes(to_canonical(tree | change))

    refused({"requires": ["language"]}, "uses ragged without requiring it")
    refused({"requires": ["ragged"]}, "uses language without requiring it")
    contract = tree["contract"]
    refused({"contract": {k: v for k, v in contract.items() if k != "language"}}, "without using")
    seeded = contract | {
        "augmentation": {"policy": None, "digest": contract["augmentation"]["digest"]}
    }
    refused({"contract": seeded}, "is not")
    changes: list[dict[str, Any]] = [{"labels": "this-token"}, {"padding": -1}, {"head": {}}]
    for change in changes:
        language = contract["language"] | change
        refused({"contract": contract | {"language": language}}, "language")
    (segment,) = tree["segments"]
    refused({"segments": [segment | {"row_order": "seed-major"}]}, "are sample-major")


def test_lengths_that_do_not_add_up_are_refused(tmp_path: Path) -> None:
    label_set, _ = make_sequence_set(tmp_path)
    other, _ = make_sequence_set(tmp_path / "other", lengths=(5, 2, 9, 3))
    (segment,) = label_set.manifest.segments
    (wrong,) = other.manifest.segments
    mixed = replace(label_set.manifest, segments=(replace(segment, parts=wrong.parts),))
    for blob in (other.directory / "blobs").iterdir():
        (tmp_path / "blobs" / blob.name).write_bytes(blob.read_bytes())
    (tmp_path / "manifest.json").write_bytes(mixed.to_bytes())
    with pytest.raises(ManifestError, match="18 rows of codes for 19 views"):
        LabelSetDirectory(tmp_path).index()


def test_a_row_for_each_labelled_position_is_asked_for(tmp_path: Path) -> None:
    label_set, _ = make_sequence_set(tmp_path / "whole")
    rows, codec = label_set.rows(label_set.manifest.segments[0].codes), label_set.codec()
    described = describe(token_ids((5, 1, 9, 3)))
    for blocks in ([rows[:-1]], [rows, rows[:1]]):
        with pytest.raises(LabelFileError, match="encode each labelled position once"):
            write_sequence_set(described, codec, blocks, tmp_path / "out", report={})
    with pytest.raises(ManifestError, match="no finished label set"):
        LabelSetDirectory(tmp_path / "out")


def _head(rows: NDArray[np.uint8]) -> Head:
    digest = head_digest(len(rows), 4, HeadDtype.FP16, [rows])
    return Head(HeadSpec(digest=digest, width=4, dtype=HeadDtype.FP16), [rows])


def test_a_head_is_shipped_or_only_named(tmp_path: Path) -> None:
    """Whoever has the teacher gives its head; another one is refused."""
    label_set, _ = make_sequence_set(tmp_path / "without")
    rows, codec = label_set.rows(label_set.manifest.segments[0].codes), label_set.codec()
    texts = token_ids((5, 1, 9, 3))
    values = np.random.default_rng(0).normal(size=(VOCABULARY, 4)).astype("<f2")
    head, other = (_head(part.view(np.uint8)) for part in (values, -values))
    language = replace(describe(texts).language, head=head.spec)
    described = describe(texts, language=language)
    shipped = write_sequence_set(described, codec, [rows], tmp_path / "a", report={}, head=head)
    mapped = LabelSetDirectory(shipped.directory).head()
    assert mapped is not None
    assert isinstance(mapped.parts[0], np.memmap)
    np.testing.assert_array_equal(mapped.weights(0, VOCABULARY), values.astype(np.float32))
    named = write_sequence_set(described, codec, [rows], tmp_path / "b", report={})
    assert named.head() is None
    named.use_head(head)
    assert named.head() is not None
    with pytest.raises(CodecFormatError, match="use the teacher's own"):
        named.use_head(other)
    padded = _head(np.vstack([values, values[:2]]).view(np.uint8))
    with pytest.raises(CodecFormatError, match="use the teacher's own, without padding"):
        named_head(named.manifest, padded)
    with pytest.raises(InvalidRequestError, match="give both the same"):
        write_sequence_set(described, codec, [rows], tmp_path / "c", report={}, head=other)
    with pytest.raises(InvalidRequestError, match=r"labelcast.torch.model_head\(teacher, num_c"):
        named.use_head(None)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="decode them without"):
        label_set.use_head(head)
    with pytest.raises(CodecFormatError, match="use the teacher's own"):
        open_head(shipped.manifest, other.parts)


def test_tokens_that_are_no_texts_have_no_digest() -> None:
    assert tokenizer_digest(["a", "bc"]) != tokenizer_digest(["ab", "c"])
    assert tokenizer_digest(["\udc80"]) != tokenizer_digest(["\udc81"])
    with pytest.raises(InvalidRequestError, match="give tokens as str, and None for an ID that h"):
        tokenizer_digest(["a", b"b"])  # type: ignore[list-item]
    assert tokenizer_digest(["a", None, "b"]) == tokenizer_digest(["a", "", "b"])
    assert tokenizer_digest(["a", None, "b"]) != tokenizer_digest(["a", "b"])


@pytest.mark.parametrize(
    "value",
    [
        3,
        {},
        {"mean_log_probability": "x", "deviation": 1.0, "positions": 3},
        {"mean_log_probability": float("nan"), "deviation": 1.0, "positions": 3},
        {"mean_log_probability": -1.0, "deviation": -1.0, "positions": 3},
        {"mean_log_probability": -1.0, "deviation": 1.0, "positions": 0},
    ],
)
def test_a_figure_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(ManifestError, match="next_token"):
        NextTokenFigure.from_report({"next_token": value})
    assert NextTokenFigure.from_report({}) is None
