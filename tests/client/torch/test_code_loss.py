"""The loss of codes against decoding all of them first."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from labelcast.codec import Recovery, TemperatureRange
from labelcast.errors import CodeRangeError, ContractMismatchError, InvalidRequestError
from labelcast.torch import CodedLabels, coded_label_loss, load_decoder, soft_label_loss
from tests.factories.codecs import (
    CONDITIONED,
    NUM_CLASSES,
    SAMPLES,
    ConditionedSample,
    Sample,
    top_k,
    vqae,
)
from tests.factories.torch_memory import LargeTensors

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
every_device = pytest.mark.parametrize("device", DEVICES)
KINDS: dict[str, Sample | ConditionedSample] = SAMPLES | CONDITIONED
KINDS["topk-zero"] = top_k(Recovery.ZERO)
every_kind = pytest.mark.parametrize("sample", KINDS.values(), ids=KINDS)
ROW = 4 * NUM_CLASSES


def coded(sample: Sample | ConditionedSample, device: str = "cpu") -> CodedLabels:
    decoder = load_decoder(sample.artifact, device)
    context = sample.context if isinstance(sample, ConditionedSample) else None
    return CodedLabels.of(decoder, sample.rows, context)


def logits(
    count: int = 9, dtype: torch.dtype = torch.float32, device: str = "cpu", scale: float = 3
) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    values = scale * torch.randn(count, NUM_CLASSES, generator=generator)
    return values.to(device, dtype).requires_grad_()


def decoded_first(student: Tensor, codes: CodedLabels, **more: Any) -> Tensor:
    kind = codes.decoder.header.label_kind
    return soft_label_loss(student, codes.decode(), kind, **more)


def value_and_gradient(
    loss: Callable[..., Tensor], student: Tensor, codes: CodedLabels, **more: Any
) -> tuple[Tensor, Tensor]:
    value = loss(student, codes, **more)
    # As a GradScaler does it: small gradients of halves must not have been lost before.
    (gradient,) = torch.autograd.grad(value * 1024, student)
    return value.detach(), gradient


def assert_same(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        # Entries that are nearly 0 are differences of shares: as exact as the shares are.
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()))


@every_device
@every_kind
@pytest.mark.parametrize("slice_rows", [1, 4, 100])
def test_value_and_gradient_are_those_of_decoding_first(
    sample: Sample | ConditionedSample, slice_rows: int, device: str
) -> None:
    codes, student = coded(sample, device), logits(device=device)
    sliced = value_and_gradient(coded_label_loss, student, codes, slice_bytes=slice_rows * ROW)
    whole = value_and_gradient(decoded_first, student, codes)
    assert_same(sliced, whole)


def test_temperatures_within_the_label_set_s_range() -> None:
    codes, student = coded(vqae(temperatures=TemperatureRange(1, 20))), logits()
    for temperature in (1.0, 4.0, 20.0):
        for squared in (False, True):
            more = {"temperature": temperature, "scale_by_temperature_squared": squared}
            sliced = value_and_gradient(coded_label_loss, student, codes, slice_bytes=1, **more)
            whole = value_and_gradient(decoded_first, student, codes, **more)
            assert_same(sliced, whole)
    for temperature in (0.5, 21.0):
        with pytest.raises(ContractMismatchError, match="at temperatures 1 to 20, not at"):
            coded_label_loss(student, codes, temperature=temperature)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kind", ["vqae", "topk-spread", "raw-fp16"])
def test_students_of_any_precision(kind: str, dtype: torch.dtype) -> None:
    codes, student = coded(KINDS[kind]), logits(dtype=dtype)
    value, gradient = value_and_gradient(coded_label_loss, student, codes, slice_bytes=2 * ROW)
    wide = torch.promote_types(dtype, torch.float32)
    expected = decoded_first(student.to(wide), codes)
    (expected_gradient,) = torch.autograd.grad(expected * 1024, student)
    assert (value.dtype, gradient.dtype) == (wide, dtype)
    torch.testing.assert_close(value, expected.detach(), rtol=1e-5, atol=0)
    if dtype is torch.float64:
        # As exact as labels, which are decoded in fp32, and in slices: some processors round their
        # products otherwise than those of the whole.
        assert_same((gradient,), (expected_gradient,))
    else:
        torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.parametrize("kind", ["vqae", "topk-zero", "raw-fp32"])
def test_the_gradient_is_that_of_differences(kind: str) -> None:
    codes, student = coded(KINDS[kind]), logits(dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda given: coded_label_loss(given, codes, slice_bytes=3 * ROW), student
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_changes_neither_the_labels_nor_the_divergence(dtype: torch.dtype) -> None:
    codes, images = coded(SAMPLES["vqae"]), torch.randn(9, 5)
    network = nn.Linear(5, NUM_CLASSES)
    scaler = torch.amp.GradScaler("cpu", enabled=dtype is torch.float16)
    with torch.autocast("cpu", dtype):
        student = network(images)
        loss = coded_label_loss(student, codes, slice_bytes=ROW)
        # Some call it inside, against advice.
        scaler.scale(loss).backward()
    assert (student.dtype, loss.dtype) == (dtype, torch.float32)
    expected = decoded_first(student.float(), codes)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()


def test_it_can_be_gone_through_twice() -> None:
    codes, student = coded(SAMPLES["vqae"]), logits()
    loss = coded_label_loss(student, codes, slice_bytes=ROW)
    first = torch.autograd.grad(loss, student, retain_graph=True)
    assert torch.equal(*first, *torch.autograd.grad(loss, student))


@pytest.mark.parametrize("kind", ["vqae", "topk-spread", "raw-fp32", "hidden"])
def test_no_more_than_a_slice_of_the_teacher_exists(kind: str) -> None:
    codes = coded(KINDS[kind])
    codes = CodedLabels.joined([codes] * 20)
    counts, whole = {}, len(codes) * NUM_CLASSES
    for loss in (coded_label_loss, decoded_first):
        student = logits(len(codes))
        more: dict[str, Any] = {"slice_bytes": 10 * ROW} if loss is coded_label_loss else {}
        with LargeTensors(student, codes.rows) as large:
            loss(student, codes, **more).backward()
        counts[loss] = [size for size in large.sizes if size >= whole]
        if loss is coded_label_loss:
            (gradient,) = counts[loss]
            assert gradient == whole
            # Ten rows, of which the widest is that of a class or of what a decoder takes in.
            assert max(size for size in large.sizes if size < whole) <= 10 * 32
    assert len(counts[decoded_first]) > 3


def test_rows_of_a_buffer_that_is_filled_again() -> None:
    sample, student = SAMPLES["vqae"], logits()
    buffer = sample.rows.copy()
    codes = CodedLabels.of(load_decoder(sample.artifact, "cpu"), buffer)
    loss = coded_label_loss(student, codes, slice_bytes=ROW)
    expected = torch.autograd.grad(decoded_first(student, codes), student)
    buffer[:] = 0
    assert_same(torch.autograd.grad(loss, student), expected)
    loss = coded_label_loss(student, codes, slice_bytes=ROW)
    codes.rows.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_code_outside_its_codebook_is_refused() -> None:
    decoder = load_decoder(SAMPLES["vqae-5"].artifact, "cpu")
    rows = SAMPLES["vqae-5"].rows.copy()
    rows[-1, 0] |= 7
    with pytest.raises(CodeRangeError):
        coded_label_loss(logits(), CodedLabels.of(decoder, rows), slice_bytes=ROW)


def test_what_does_not_fit_is_refused() -> None:
    codes = coded(SAMPLES["vqae"])
    none = CodedLabels(codes.decoder, codes.rows[:0], None)
    for student, given, more, message in [
        (logits(8), codes, {}, "give one row of logits for each label, and at least one"),
        (logits()[:, :-1], codes, {}, "give one row of logits for each label, and at least one"),
        (logits(0), none, {}, "give one row of logits for each label, and at least one"),
        (logits().long(), codes, {}, "must be float, not torch.int64"),
        (logits().to("meta"), codes, {}, "codes on cpu; say code_reader(device='meta')"),
        (logits(), codes, {"slice_bytes": 0}, "slice_bytes is 0, must be at least 1"),
        (logits(), codes, {"temperature": 0.0}, "temperature 0.0 is not a number above 0"),
        (logits(), codes, {"temperature": float("nan")}, "temperature nan is not a number above"),
        (
            logits(),
            codes.decode(),
            {},
            "take them from label_set.code_reader(), or decoded labels to soft_label_loss",
        ),
    ]:
        with pytest.raises(InvalidRequestError) as caught:
            coded_label_loss(student, given, **more)  # type: ignore[arg-type]
        assert message in caught.value.message


def test_probabilities_of_another_temperature_are_refused() -> None:
    with pytest.raises(ContractMismatchError, match="not at 4; train at one of theirs") as caught:
        coded_label_loss(logits(), coded(SAMPLES["topk-spread"]), temperature=4)
    assert caught.value.facts == {"field": "temperature", "expected": "4", "actual": "1 to 1"}


def test_codes_of_several_decoders_are_not_joined() -> None:
    codes = coded(SAMPLES["vqae"])
    assert np.array_equal(
        CodedLabels.joined([codes, codes]).decode().numpy(), codes.decode().repeat(2, 1).numpy()
    )
    for parts in ([], [codes, coded(SAMPLES["vqae"])]):
        with pytest.raises(InvalidRequestError, match="join coded labels of one reader, and at"):
            CodedLabels.joined(parts)
