"""Rows of tokens on a device: decoded to what is needed, and what losses make of them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from labelcast.codec import CodecHeader, LabelKind, Rows, write_artifact
from labelcast.codec.latent import HeadDtype, HiddenCodec, StatePrecision
from labelcast.codec.sparse import SparseLabels
from labelcast.errors import (
    CodecError,
    CodecFormatError,
    CodeRangeError,
    GoldenRowsError,
    InvalidRequestError,
    LabelValueError,
)
from labelcast.torch import CodedLabels, TorchDecoder
from labelcast.torch.tokens.decoders import HiddenDecoder, LatentDecoder, SparseDecoder
from labelcast.torch.tokens.divergences import TokenLoss
from labelcast.torch.tokens.heads.teacher_head import TeacherHead
from labelcast.torch.tokens.losses import token_loss
from labelcast.torch.tokens.readout import TokenReadout
from labelcast.torch.tokens.teachers import NamedLabels
from tests.factories.token_codecs import (
    FloatStates,
    NamedTokens,
    logits_header,
    probabilities_header,
)
from tests.factories.token_teachers import (
    NAMED,
    TOKENS,
    VOCABULARY,
    WIDTH,
    head_of,
    sparse,
    state_labels,
    states_of,
)

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
every_device = pytest.mark.parametrize("device", DEVICES)
# A slice of readouts: two tokens.
SLICE = 2 * 4 * VOCABULARY


def state_codec(*, headless: bool = False) -> FloatStates:
    codec = FloatStates(logits_header(VOCABULARY), WIDTH)
    return codec if headless else codec.with_head(head_of())


def state_rows() -> Rows:
    return states_of().view(np.uint8)


def named_codes(*, rest: bool = False, lumped: bool = False) -> tuple[NamedTokens, Rows]:
    labels = sparse(1.0, "cpu", rest=rest, lumped=lumped).labels
    assert isinstance(labels, NamedLabels)
    rows = labels.rows
    codec = NamedTokens(probabilities_header(VOCABULARY), NAMED, lumped=lumped)
    given = (rows.ids.numpy(), rows.probabilities.numpy(), rows.rest.numpy())
    return codec, codec.pack(SparseLabels(*given))


def coded(codec: FloatStates | NamedTokens, rows: Rows, device: str = "cpu") -> CodedLabels:
    return CodedLabels.of(TorchDecoder.from_codec(codec, device), rows)


@every_device
@pytest.mark.parametrize("loss", TokenLoss)
def test_losses_of_rows_are_those_of_what_they_hold(loss: TokenLoss, device: str) -> None:
    logits = torch.randn(TOKENS, VOCABULARY, device=device, requires_grad=True)
    spread = {"rest": loss is TokenLoss.REVERSE_KL}
    pairs = [
        (coded(state_codec(), state_rows(), device), state_labels(1.0, device)),
        (coded(*named_codes(**spread), device), sparse(1.0, device, **spread)),
        (coded(*named_codes(lumped=True), device), sparse(1.0, device, lumped=True)),
    ]
    for codes, expected in pairs:
        found = token_loss(logits, codes, loss=loss, slice_bytes=SLICE)
        assert torch.equal(found, token_loss(logits, expected.labels, loss=loss, slice_bytes=SLICE))
        found.backward()


@every_device
def test_labels_are_those_of_numpy(device: str) -> None:
    for codec, rows in ((state_codec(), state_rows()), named_codes(rest=True), named_codes()):
        labels = TorchDecoder.from_codec(codec, device)(rows)
        torch.testing.assert_close(labels.cpu(), torch.from_numpy(codec.decode(rows)))


@every_device
@pytest.mark.parametrize("dtype", HeadDtype)
@pytest.mark.parametrize("bias", [False, True])
def test_a_head_gives_the_logits_of_numpy(
    dtype: HeadDtype, bias: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "labelcast.torch.tokens.heads.teacher_head._SLICE_BYTES", 4 * 3 * (WIDTH + 1)
    )
    head = head_of(dtype, bias=bias, scale=0.5, softcap=3.0)
    placed, states = TeacherHead(head, device), torch.tensor(states_of(), device=device)
    logits = placed.logits(states).cpu()
    torch.testing.assert_close(logits, torch.from_numpy(head.logits(states_of())))
    ids = torch.randint(VOCABULARY, (TOKENS, 4), device=device)
    torch.testing.assert_close(placed.logits_of(states, ids).cpu(), logits.gather(1, ids.cpu()))


def test_readouts_are_those_of_whole_labels() -> None:
    for codec, rows in ((state_codec(), state_rows()), named_codes(rest=True), named_codes()):
        codes = coded(codec, rows)
        labels = torch.from_numpy(codec.decode(rows))
        states = isinstance(codec, FloatStates)
        expected = torch.log_softmax(labels, dim=1) if states else labels.log()
        readout = TokenReadout(codes, slice_bytes=SLICE)
        for k in (1, 7, VOCABULARY):
            ids, values = readout.top_k(k)
            sorted_values, order = expected.sort(dim=1, descending=True, stable=True)
            torch.testing.assert_close(values, sorted_values[:, :k])
            assert torch.equal(ids, order[:, :k])
        ids = torch.randint(VOCABULARY, (TOKENS, 3))
        torch.testing.assert_close(readout.log_probabilities_at(ids), expected.gather(1, ids))
        if states:
            assert torch.equal(readout.latents(), torch.from_numpy(states_of()))
        else:
            with pytest.raises(CodecFormatError, match="rows hold no states"):
                readout.latents()


def test_readouts_refuse_what_is_none() -> None:
    readout = TokenReadout(coded(state_codec(), state_rows()))
    for k in (0, VOCABULARY + 1):
        with pytest.raises(InvalidRequestError, match=f"k is {k}, must be 1 to 13"):
            readout.top_k(k)
    with pytest.raises(InvalidRequestError, match=r"must be int64 of shape \(11, m\)"):
        readout.log_probabilities_at(torch.zeros(2, 3, dtype=torch.int64))
    for outside in (-1, VOCABULARY):
        with pytest.raises(CodeRangeError, match="outside the vocabulary of 13 tokens"):
            readout.log_probabilities_at(torch.full((TOKENS, 1), outside))
    assert TokenReadout(coded(state_codec(), state_rows()[:0])).top_k(2)[0].shape == (0, 2)


def test_states_without_their_head() -> None:
    codes = coded(state_codec(headless=True), state_rows())
    assert torch.equal(TokenReadout(codes).latents(), torch.from_numpy(states_of()))
    logits = torch.zeros(TOKENS, VOCABULARY)
    uses: list[Callable[[], torch.Tensor]] = [codes.decode, lambda: token_loss(logits, codes)]
    for use in uses:
        with pytest.raises(CodecFormatError, match=r"give it with label_set.use_head\(head\)"):
            use()


def test_rows_that_are_none_are_refused_by_losses() -> None:
    logits = torch.zeros(TOKENS, VOCABULARY)
    codec, rows = named_codes()
    rows[3, :4] = 255, 255, 255, 127
    with pytest.raises(CodeRangeError):
        token_loss(logits, coded(codec, rows))
    states = states_of()
    states[2, 1] = np.nan
    with pytest.raises(LabelValueError):
        token_loss(logits, coded(state_codec(), states.view(np.uint8)))


def test_rows_changed_before_the_backward_pass_are_noticed() -> None:
    codes = coded(state_codec(), state_rows())
    loss = token_loss(torch.zeros(TOKENS, VOCABULARY, requires_grad=True), codes)
    codes.rows.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_decoders_prove_themselves_on_golden_rows() -> None:
    codec, rows = named_codes()
    for decoder, right, other in (
        (TorchDecoder.from_codec(codec, "cpu"), rows, rows[::-1]),
        (TorchDecoder.from_codec(state_codec(), "cpu"), state_rows(), state_rows()[::-1]),
    ):
        assert isinstance(decoder, LatentDecoder | SparseDecoder)
        kept: FloatStates | NamedTokens = codec if decoder.name == codec.name else state_codec()
        decoder.prove(write_artifact(kept, right[:4]))
        content = bytearray(write_artifact(kept, right[:4]))
        # Of the same length, so it can take the place of the golden rows.
        at = bytes(content).index(right[:4].tobytes())
        content[at : at + right[:4].size] = other[:4].tobytes()
        with pytest.raises(GoldenRowsError, match="do not train with it"):
            decoder.prove(bytes(content))


@every_device
@pytest.mark.parametrize("precision", StatePrecision)
def test_any_bytes_are_the_states_of_numpy_or_refused_alike(
    device: str, precision: StatePrecision
) -> None:
    header = CodecHeader(11, LabelKind.LOGITS, None)
    scales: dict[str, Any] = {}
    if precision is StatePrecision.INT8:
        scales = {"block": 3, "channels": np.array([1, 2, 0.3, 8, 16], np.float32)}
    codec = HiddenCodec(header, 5, precision, **scales)
    decoder = TorchDecoder.from_codec(codec, device)
    assert isinstance(decoder, HiddenDecoder)
    random = np.random.default_rng(0)
    rows = random.integers(0, 256, (400, codec.row_stride), dtype=np.uint8)
    # Scales as encoders write them, so that most rows are right.
    rows[::2, 1 : 2 * codec.num_scales : 2] = 0x3F
    outcomes = set()
    for row in rows:
        here, there = _outcome(codec.latents, row), _outcome(decoder.latents, row)
        assert here == there
        outcomes.add(here if isinstance(here, str) else "states")
    assert len(outcomes) >= 2
    with pytest.raises(CodecFormatError, match="must have shape"):
        decoder.latents(rows[:, 1:])


def _outcome(latents: Callable[[Rows], Any], row: NDArray[np.uint8]) -> str | list[float]:
    """The states of a row, or what is said against it."""
    try:
        states: list[float] = torch.as_tensor(latents(row[None])).cpu()[0].tolist()
    except CodecError as error:
        return error.message
    return states
