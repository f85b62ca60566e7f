"""The library's own codecs of tokens, from their artifacts to a loss on a device."""

import numpy as np
import pytest
import torch

from labelcast.codec import Recovery, Rows, TopKCodec, write_artifact
from labelcast.codec.latent import HiddenCodec, StatePrecision
from labelcast.codec.sparse import MissingMass, PackedTopKCodec, SampledCodec
from labelcast.errors import CodecFormatError, ContractMismatchError, LabelValueError
from labelcast.torch import CodedLabels, load_decoder
from labelcast.torch.tokens.divergences import TokenLoss
from labelcast.torch.tokens.losses import token_loss
from labelcast_producers.encoding.tokens.base import TokenEncoder
from labelcast_producers.encoding.tokens.hidden import HiddenEncoder
from labelcast_producers.encoding.tokens.packed_top_k import PackedTopKEncoder
from labelcast_producers.encoding.tokens.sampled import SampledEncoder
from tests.factories.token_codecs import logits_header, probabilities_header
from tests.factories.token_teachers import TOKENS, VOCABULARY, head_of, states_of


def encoded(
    encoder: TokenEncoder, values: np.ndarray[tuple[int, int], np.dtype[np.float32]]
) -> Rows:
    ids, positions = np.zeros(TOKENS, dtype=np.uint64), np.arange(TOKENS, dtype=np.uint32)
    return encoder.encode(values, sample_ids=ids, positions=positions)


def coded(encoder: TokenEncoder) -> CodedLabels:
    states = isinstance(encoder, HiddenEncoder)
    rows = encoded(encoder, states_of() if states else head_of().logits(states_of()))
    content = write_artifact(encoder.codec, rows[:4])
    return CodedLabels.of(load_decoder(content, "cpu", head=head_of()), rows)


def packed(missing: MissingMass) -> CodedLabels:
    header = probabilities_header(VOCABULARY)
    return coded(PackedTopKEncoder(PackedTopKCodec(header, 6, 6, missing)))


def student() -> torch.Tensor:
    return torch.randn(TOKENS, VOCABULARY, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("precision", StatePrecision)
@pytest.mark.parametrize("loss", TokenLoss)
def test_hidden_states_give_the_loss_of_their_logits(
    precision: StatePrecision, loss: TokenLoss
) -> None:
    encoder = HiddenEncoder.calibrated(VOCABULARY, states_of(), precision, block=2)
    codes = coded(encoder)
    codec = encoder.codec.with_head(head_of())
    assert isinstance(codec, HiddenCodec)
    labels = torch.from_numpy(codec.decode(codes.rows.numpy()))
    torch.testing.assert_close(codes.decode(), labels)
    expected = torch.softmax(labels.double(), dim=1)
    p = torch.softmax(student().double(), dim=1)
    if loss is TokenLoss.FORWARD_KL:
        value = (expected * (expected / p).log()).sum(dim=1).mean()
        assert token_loss(student(), codes).item() == pytest.approx(value.item(), rel=1e-4)
    assert bool(token_loss(student(), codes, loss=loss) > 0)


@pytest.mark.parametrize("missing", MissingMass)
def test_packed_top_k_gives_the_loss_of_its_rule(missing: MissingMass) -> None:
    codes = packed(missing)
    labels, p = codes.decode().double(), torch.softmax(student().double(), dim=1)
    if missing is MissingMass.LUMPED:
        named = codes.decoder.sparse(codes.rows)  # type: ignore[attr-defined]
        others = torch.ones_like(p).scatter_(1, named.ids, 0)
        merged = [torch.cat([q * (1 - others), (q * others).sum(1, True)], 1) for q in (labels, p)]
        labels, p = merged
    value = torch.xlogy(labels, labels).sum(1) - (labels * p.clamp(min=1e-300).log()).sum(1)
    assert token_loss(student(), codes).item() == pytest.approx(value.mean().item(), rel=1e-4)
    if missing in (MissingMass.ZERO, MissingMass.RENORMALISE):
        with pytest.raises(LabelValueError, match="probability of 0"):
            token_loss(student(), codes, loss=TokenLoss.REVERSE_KL)
    else:
        assert bool(token_loss(student(), codes, loss=TokenLoss.REVERSE_KL) > 0)


def test_sampled_labels_are_known_to_be_samples() -> None:
    codes = coded(SampledEncoder(SampledCodec(probabilities_header(VOCABULARY), 4), key=3))
    value = -(codes.decode() * torch.log_softmax(student(), dim=1)).sum(dim=1).mean()
    found = token_loss(student(), codes, loss=TokenLoss.CROSS_ENTROPY)
    assert found.item() == pytest.approx(value.item(), rel=1e-5)
    for loss in (TokenLoss.REVERSE_KL, TokenLoss.JENSEN_SHANNON):
        with pytest.raises(ContractMismatchError, match="use cross-entropy or forward-kl"):
            token_loss(student(), codes, loss=loss)


def test_a_head_of_another_vocabulary_does_not_fit() -> None:
    encoder = HiddenEncoder.calibrated(VOCABULARY, states_of(), StatePrecision.FP16)
    content = write_artifact(encoder.codec, encoded(encoder, states_of())[:4])
    with pytest.raises(CodecFormatError, match="use the teacher's own"):
        load_decoder(content, "cpu", head=head_of(vocabulary=VOCABULARY + 1))


def test_logits_of_a_few_tokens_exclude_the_others() -> None:
    codec = TopKCodec(logits_header(VOCABULARY), 3, Recovery.RENORMALISE)
    ids = np.tile(np.array([0, 4, 7], dtype="<u2"), (TOKENS, 1))
    values = states_of()[:, :3].astype("<f2")
    rows = np.concatenate([ids.view(np.uint8), values.view(np.uint8)], axis=1)
    codes = CodedLabels.of(load_decoder(write_artifact(codec, rows[:4]), "cpu"), rows)
    labels = torch.softmax(torch.from_numpy(values.astype(np.float32)), dim=1)
    log_p = torch.log_softmax(student(), dim=1)[:, [0, 4, 7]]
    value = (labels * (labels.log() - log_p)).sum(dim=1).mean()
    assert token_loss(student(), codes).item() == pytest.approx(value.item(), rel=1e-5)
    with pytest.raises(LabelValueError, match="probability of 0"):
        token_loss(student(), codes, loss=TokenLoss.REVERSE_KL)
