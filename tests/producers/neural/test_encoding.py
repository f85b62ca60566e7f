from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from labelcast.codec import (
    CodecHeader,
    LabelKind,
    Labels,
    Precision,
    RawCodec,
    Recovery,
    TemperatureRange,
    VqaeShape,
    read_artifact,
)
from labelcast.codec.topk import split_top_k
from labelcast.errors import CodecFormatError, LabelFileError, LabelValueError
from labelcast_producers.neural.autoencoder import (
    AutoencoderShape,
    VectorQuantizedAutoencoder,
    log_probabilities,
)
from labelcast_producers.neural.compute import Compute
from labelcast_producers.neural.encoding import (
    Encoder,
    RawEncoder,
    Search,
    TopKEncoder,
    VqaeEncoder,
)
from labelcast_producers.neural.export import build_artifact, export_codec, round_to_stored
from tests.factories.decoded import assert_same_labels

NUM_CLASSES = 9
IN_FP32 = Search(compute=Compute.FP32)
LOGITS = np.random.default_rng(0).normal(0, 4, (50, NUM_CLASSES)).astype(np.float32)
PROBABILITIES = torch.softmax(torch.from_numpy(LOGITS), dim=1).numpy()


def raw_encoder(precision: Precision = Precision.FP16) -> RawEncoder:
    return RawEncoder(RawCodec(CodecHeader(NUM_CLASSES, LabelKind.LOGITS, None), precision))


def vqae_encoder(
    codebook_size: int = 6,
    kind: LabelKind = LabelKind.LOGITS,
    codes: int = 3,
    hidden: tuple[int, ...] = (8,),
    search: Search = IN_FP32,
) -> VqaeEncoder:
    shape = AutoencoderShape(NUM_CLASSES, VqaeShape(codes, codebook_size, 2, hidden), (16,))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = VectorQuantizedAutoencoder(shape).requires_grad_(False)
    teacher = log_probabilities(torch.from_numpy(LOGITS), LabelKind.LOGITS, 1.0)
    model.start_from(teacher, None, torch.Generator().manual_seed(0), batch_rows=50)
    round_to_stored(model, temperature=1.0)
    codec = export_codec(model, TemperatureRange(1.0, 1.0))
    return VqaeEncoder(model, codec, label_kind=kind, temperature=1.0, search=search)


ENCODERS: dict[str, Encoder] = {
    "raw-fp16": raw_encoder(),
    "raw-fp32": raw_encoder(Precision.FP32),
    "topk": TopKEncoder(NUM_CLASSES, k=3, label_kind=LabelKind.LOGITS),
    "topk-all": TopKEncoder(NUM_CLASSES, k=NUM_CLASSES, label_kind=LabelKind.LOGITS),
    "vqae": vqae_encoder(),
}
every_encoder = pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)


@every_encoder
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rows_are_such_as_the_codec_accepts(encoder: Encoder, dtype: type[Any]) -> None:
    rows = encoder.encode(LOGITS.astype(dtype))
    assert rows.shape == (50, encoder.row_stride)
    assert rows.dtype == np.uint8
    encoder.codec.check_rows(rows)
    assert encoder.codec.decode(rows).shape == LOGITS.shape


@every_encoder
def test_no_labels_give_no_rows(encoder: Encoder) -> None:
    assert encoder.encode(LOGITS[:0]).shape == (0, encoder.row_stride)


@every_encoder
def test_blocks_make_no_difference(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = encoder.codec.decode(encoder.encode(LOGITS))
    monkeypatch.setattr("labelcast_producers.neural.encoding._BLOCK_BYTES", 16 * NUM_CLASSES * 7)
    in_blocks = encoder.codec.decode(encoder.encode(LOGITS))
    if isinstance(encoder, VqaeEncoder):
        # Of codes that serve equally well, either may be taken.
        np.testing.assert_allclose(row_kls(in_blocks), row_kls(whole), atol=1e-4)
    else:
        np.testing.assert_allclose(in_blocks, whole, atol=2e-3)


@every_encoder
def test_read_only_labels_are_encoded(encoder: Encoder) -> None:
    frozen = LOGITS[::2].copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(encoder.encode(frozen), encoder.encode(LOGITS[::2]))


@every_encoder
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_bad_row_is_named(encoder: Encoder, value: float) -> None:
    labels = LOGITS.copy()
    labels[[31, 40], 3] = value
    with pytest.raises(LabelValueError, match="row 31 "):
        encoder.encode(labels)


@every_encoder
def test_other_shapes_and_types_are_refused(encoder: Encoder) -> None:
    for labels in (LOGITS[:, :-1], LOGITS[0], LOGITS.astype(np.int32)):
        with pytest.raises(LabelFileError):
            encoder.encode(labels)


@every_encoder
def test_labels_of_another_number_of_classes_are_told_so(encoder: Encoder) -> None:
    expected = "the codec has 9 classes, the labels have 1000"
    with pytest.raises(LabelFileError, match=expected):
        encoder.encode(np.zeros((2, 1000), dtype=np.float32))


def test_raw_keeps_the_values_and_refuses_to_lose_them() -> None:
    encoder = raw_encoder()
    np.testing.assert_array_equal(
        encoder.codec.decode(encoder.encode(LOGITS)), LOGITS.astype(np.float16)
    )
    labels = LOGITS.copy()
    labels[7, 0] = 7e4
    with pytest.raises(LabelValueError, match="row 7 overflows fp16; use fp32"):
        encoder.encode(labels)
    assert raw_encoder(Precision.FP32).encode(labels).shape == (50, 4 * NUM_CLASSES)


def top_k(
    labels: NDArray[Any], *, kind: LabelKind = LabelKind.LOGITS, temperature: float = 1.0
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    encoder = TopKEncoder(NUM_CLASSES, k=3, label_kind=kind, temperature=temperature)
    rows = encoder.encode(labels)
    encoder.codec.check_rows(rows)
    return split_top_k(rows, 3, NUM_CLASSES)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_top_k_holds_the_likeliest_classes_at_the_temperature(temperature: float) -> None:
    softened = torch.softmax(torch.from_numpy(LOGITS) / temperature, dim=1)
    ids, probabilities = top_k(LOGITS, temperature=temperature)
    expected = softened.topk(3, dim=1)
    np.testing.assert_array_equal(ids, expected.indices)
    np.testing.assert_allclose(probabilities, expected.values, rtol=2e-3, atol=1e-7)


def test_top_k_of_probabilities_is_that_of_their_logits() -> None:
    ids, probabilities = top_k(LOGITS)
    others, same = top_k(PROBABILITIES, kind=LabelKind.PROBABILITIES)
    np.testing.assert_array_equal(others, ids)
    np.testing.assert_allclose(same, probabilities, rtol=2e-3)


@pytest.mark.parametrize("num_classes", [2, 1000])
def test_rounded_probabilities_never_sum_to_more_than_one(num_classes: int) -> None:
    labels = np.random.default_rng(0).normal(0, 1, (500, num_classes))
    encoder = TopKEncoder(num_classes, k=num_classes, label_kind=LabelKind.LOGITS)
    _, probabilities = split_top_k(encoder.encode(labels), num_classes, num_classes)
    assert probabilities.astype(np.float64).sum(axis=1).max() <= 1


@pytest.mark.parametrize("row", [[0.5] * NUM_CLASSES, [-0.1, 1.1] + [0] * (NUM_CLASSES - 2)])
def test_top_k_refuses_what_is_no_distribution(row: list[float]) -> None:
    labels = PROBABILITIES.copy()
    labels[9] = row
    with pytest.raises(LabelValueError, match="row 9 "):
        top_k(labels, kind=LabelKind.PROBABILITIES)


@pytest.mark.parametrize("k", [0, NUM_CLASSES + 1])
def test_a_k_that_cannot_be_is_refused(k: int) -> None:
    with pytest.raises(CodecFormatError):
        TopKEncoder(NUM_CLASSES, k=k, label_kind=LabelKind.LOGITS, recovery=Recovery.RENORMALISE)


def test_vqae_encodes_logits_up_to_a_constant_and_probabilities_alike() -> None:
    encoder = vqae_encoder()
    kls = row_kls(encoder.codec.decode(encoder.encode(LOGITS)))
    shifted = encoder.encode(LOGITS.astype(np.float64) + 100)
    of_probabilities = vqae_encoder(kind=LabelKind.PROBABILITIES).encode(PROBABILITIES)
    for rows in (shifted, of_probabilities):
        # Of codes that serve equally well, either may be taken.
        np.testing.assert_allclose(row_kls(encoder.codec.decode(rows)), kls, atol=1e-3)


@pytest.mark.parametrize("codebook_size", [2, 6, 256, 300])
def test_codes_are_chosen_for_the_codebooks_that_are_stored(codebook_size: int) -> None:
    encoder = vqae_encoder(codebook_size, search=Search(candidates=1))
    rows = encoder.encode(LOGITS)
    model = encoder.model
    latents = model.latents(log_probabilities(torch.from_numpy(LOGITS), LabelKind.LOGITS, 1.0))
    stored = torch.from_numpy(encoder.vqae.codebooks)
    distances = (latents[:, :, None] - stored[None]).square().sum(dim=3)
    chosen = torch.from_numpy(encoder.vqae.unpack(rows).astype(np.int64))
    nearest = distances.gather(2, chosen[..., None])[..., 0]
    torch.testing.assert_close(nearest, distances.min(dim=2).values, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("hidden", [(), (8,), (8, 6)])
def test_an_artifact_decodes_what_the_model_decodes(hidden: tuple[int, ...]) -> None:
    encoder = vqae_encoder(hidden=hidden)
    rows = encoder.encode(LOGITS)
    codec = read_artifact(build_artifact(encoder.vqae, rows, None, torch.device("cpu")))
    codes = torch.from_numpy(encoder.vqae.unpack(rows).astype(np.int64))
    expected = encoder.model.decode(encoder.model.quantizer.look_up(codes))
    assert_same_labels(codec.decode(rows), expected.numpy())


def row_kls(labels: Labels) -> NDArray[np.float64]:
    """What each row's teacher is away from `labels`, which are logits: shape (50,)."""
    teacher = torch.log_softmax(torch.from_numpy(LOGITS).double(), dim=1)
    decoded = torch.log_softmax(torch.from_numpy(labels).double(), dim=1)
    kls: NDArray[np.float64] = (teacher.exp() * (teacher - decoded)).sum(dim=1).numpy()
    return kls


def mean_kl(encoder: VqaeEncoder) -> float:
    return float(row_kls(encoder.codec.decode(encoder.encode(LOGITS))).mean())


@pytest.mark.parametrize("hidden", [(), (8,), (8, 6)])
def test_a_search_finds_better_codes_and_a_longer_one_no_worse(hidden: tuple[int, ...]) -> None:
    nearest, short, long = (
        mean_kl(vqae_encoder(hidden=hidden, search=Search(candidates, rounds, Compute.FP32)))
        for candidates, rounds in ((1, 1), (3, 1), (3, 3))
    )
    assert long <= short + 1e-5 < nearest


def test_a_search_over_all_codewords_of_one_book_finds_the_best() -> None:
    search = Search(candidates=6, rounds=1, compute=Compute.FP32)
    encoder = vqae_encoder(codes=1, search=search)
    teacher = torch.log_softmax(torch.from_numpy(LOGITS), dim=1)
    every = torch.log_softmax(
        encoder.model.decode(encoder.model.quantizer.look_up(torch.arange(6)[:, None])), dim=1
    )
    costs = -(teacher.exp() @ every.T)
    chosen = torch.from_numpy(encoder.vqae.unpack(encoder.encode(LOGITS)).astype(np.int64))
    torch.testing.assert_close(
        costs.gather(1, chosen)[:, 0], costs.min(dim=1).values, rtol=1e-4, atol=1e-4
    )


def test_weights_that_fp16_cannot_hold_are_refused() -> None:
    model = vqae_encoder().model
    model.decoder.linears[0].weight.fill_(1e5)
    with pytest.raises(LabelValueError, match="overflows fp16"):
        round_to_stored(model, temperature=1.0)
