"""Encoders that are conditioned on context: what they write, decodes under it as it was chosen."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from labelcast.codec import (
    ContextShape,
    LabelKind,
    Rows,
    TemperatureRange,
    VqaeShape,
    golden_rows,
    read_artifact,
)
from labelcast.errors import LabelFileError, LabelValueError
from labelcast_producers.neural.autoencoder import (
    AutoencoderShape,
    VectorQuantizedAutoencoder,
    log_probabilities,
)
from labelcast_producers.neural.compute import Compute
from labelcast_producers.neural.encoding import Search, VqaeEncoder, context_tensor
from labelcast_producers.neural.export import build_artifact, export_codec, round_to_stored
from tests.factories.codecs import random_context
from tests.factories.decoded import assert_same_labels

NUM_CLASSES, ROWS = 9, 50
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 4, (ROWS, NUM_CLASSES)).astype(np.float32)
CPU = torch.device("cpu")


CONTEXT = random_context(NUM_CLASSES, ROWS, RNG)
IN_FP32 = Search(compute=Compute.FP32)


def conditioned_encoder(
    *,
    codes: int = 3,
    codebook_size: int = 6,
    hidden: tuple[int, ...] = (8,),
    search: Search = IN_FP32,
) -> VqaeEncoder:
    vqae = VqaeShape(codes, codebook_size, 2, hidden, context=ContextShape(4))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = VectorQuantizedAutoencoder(AutoencoderShape(NUM_CLASSES, vqae, (16,)))
    model.requires_grad_(False)
    teacher = log_probabilities(torch.from_numpy(LOGITS), LabelKind.LOGITS, 1.0)
    known = model.context(context_tensor(CONTEXT, CPU))
    model.start_from(teacher, known, torch.Generator().manual_seed(0), batch_rows=ROWS)
    round_to_stored(model, temperature=1.0)
    codec = export_codec(model, TemperatureRange(1.0, 1.0))
    return VqaeEncoder(model, codec, label_kind=LabelKind.LOGITS, temperature=1.0, search=search)


def codes_of(encoder: VqaeEncoder, rows: Rows) -> torch.Tensor:
    return torch.from_numpy(encoder.vqae.unpack(rows).astype(np.int64))


@pytest.mark.parametrize("hidden", [(), (8,), (8, 6)])
@pytest.mark.parametrize("codes", [0, 1, 3])
def test_an_artifact_decodes_what_the_model_decodes(codes: int, hidden: tuple[int, ...]) -> None:
    encoder = conditioned_encoder(codes=codes, hidden=hidden)
    rows = encoder.encode(LOGITS, CONTEXT)
    assert rows.shape == (ROWS, encoder.row_stride)
    artifact = build_artifact(encoder.vqae, rows, CONTEXT, CPU)
    known = encoder.model.context(context_tensor(CONTEXT, CPU))
    words = encoder.model.quantizer.look_up(codes_of(encoder, rows))
    expected = encoder.model.decode(words, known)
    assert_same_labels(read_artifact(artifact).decode(rows, CONTEXT), expected.numpy())
    _, golden, _ = golden_rows(artifact)
    assert golden is not None
    assert {row.tobytes() for row in golden} <= {row.tobytes() for row in CONTEXT}


def test_the_encoder_sees_the_context() -> None:
    encoder = conditioned_encoder()
    rows = encoder.encode(LOGITS, CONTEXT)
    others = encoder.encode(LOGITS, np.roll(CONTEXT, 1, axis=0))
    assert (rows != others).any(axis=1).mean() > 0.3


def row_kls(encoder: VqaeEncoder, rows: Rows) -> NDArray[np.float64]:
    """What each row's teacher is away from what `rows` decode to: shape (ROWS,)."""
    teacher = torch.log_softmax(torch.from_numpy(LOGITS).double(), dim=1)
    labels = torch.from_numpy(encoder.codec.decode(rows, CONTEXT)).double()
    kls: NDArray[np.float64] = (
        (teacher.exp() * (teacher - torch.log_softmax(labels, dim=1))).sum(dim=1).numpy()
    )
    return kls


@pytest.mark.parametrize("hidden", [(), (8,), (8, 6)])
def test_a_search_finds_better_codes_under_the_context(hidden: tuple[int, ...]) -> None:
    kls = []
    for candidates, rounds in ((1, 1), (3, 1), (3, 3)):
        search = Search(candidates, rounds, Compute.FP32)
        encoder = conditioned_encoder(hidden=hidden, search=search)
        kls.append(row_kls(encoder, encoder.encode(LOGITS, CONTEXT)).mean())
    nearest, short, long = kls
    assert long <= short + 1e-5 < nearest


def test_a_search_over_all_codewords_of_one_book_finds_the_best() -> None:
    encoder = conditioned_encoder(codes=1, search=Search(6, 1, Compute.FP32))
    teacher = torch.log_softmax(torch.from_numpy(LOGITS), dim=1).exp()
    known = encoder.model.context(context_tensor(CONTEXT, CPU))
    costs = []
    for code in range(6):
        words = encoder.model.quantizer.look_up(torch.full((ROWS, 1), code))
        decoded = torch.log_softmax(encoder.model.decode(words, known), dim=1)
        costs.append(-(teacher * decoded).sum(dim=1))
    every = torch.stack(costs, dim=1)
    chosen = codes_of(encoder, encoder.encode(LOGITS, CONTEXT))
    torch.testing.assert_close(
        every.gather(1, chosen)[:, 0], every.min(dim=1).values, rtol=1e-4, atol=1e-4
    )
    assert len(chosen.unique()) > 1


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = conditioned_encoder()
    whole = row_kls(encoder, encoder.encode(LOGITS, CONTEXT))
    monkeypatch.setattr("labelcast_producers.neural.encoding._BLOCK_BYTES", 16 * NUM_CLASSES * 7)
    in_blocks = row_kls(encoder, encoder.encode(LOGITS, CONTEXT))
    # Of codes that serve equally well, either may be taken.
    np.testing.assert_allclose(in_blocks, whole, atol=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [None, CONTEXT[:-1], np.repeat(CONTEXT, 2, axis=0), CONTEXT[:, :-1]],
    ids=["missing", "fewer", "more", "narrow"],
)
def test_labels_without_their_context_are_refused(wrong: Any) -> None:
    with pytest.raises(LabelFileError, match=r"relabel.*--no-context"):
        conditioned_encoder().encode(LOGITS, wrong)


def test_no_labels_give_no_rows() -> None:
    encoder = conditioned_encoder()
    assert encoder.encode(LOGITS[:0], CONTEXT[:0]).shape == (0, encoder.row_stride)


@pytest.mark.parametrize("value", [6e4, -1e5])
def test_embeddings_that_fp16_cannot_hold_are_refused(value: float) -> None:
    model = conditioned_encoder().model
    assert model.classes is not None
    model.classes[3, 1] = value
    if value == 6e4:
        round_to_stored(model, temperature=1.0)
    else:
        with pytest.raises(LabelValueError, match="overflows fp16"):
            round_to_stored(model, temperature=1.0)
