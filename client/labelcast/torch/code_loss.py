"""A divergence from labels that are still codes: a slice of the teacher's values at a time."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from labelcast.codec import CodecHeader, LabelKind
from labelcast.errors import ContractMismatchError, InvalidRequestError
from labelcast.torch.coded_labels import CodedLabels

# On a CPU these many stay in its caches; on any device they are launches enough for a few thousand
# rows of a thousand classes.
SLICE_BYTES = 2**22


def coded_label_loss(
    student_logits: Tensor,
    codes: CodedLabels,
    *,
    temperature: float = 1.0,
    scale_by_temperature_squared: bool = False,
    slice_bytes: int = SLICE_BYTES,
) -> Tensor:
    """KL divergence from teacher to student as `soft_label_loss` has it, of codes.

    Labels are decoded slice by slice, in the forward pass and again in the backward pass, so that
    no more than a slice of the teacher's values exists. What fits into one slice is decoded once.

    Args:
        student_logits: float of any precision, shape (N, C), on the device of the codes.
        codes: labels of the same N views, from `label_set.code_reader()`.
        temperature: softmax temperature of the student, and of the teacher where labels are logits.
        scale_by_temperature_squared: as of `soft_label_loss`.
        slice_bytes: how many bytes of the teacher's values exist at once, 4 a class, or 8 for a
            student in double precision; a row at least. Temporary values take as much a few times.

    Returns:
        Scalar, in nats, times T² if requested: float64 for a student in double precision, else
        float32, in which it is computed whatever autocast says.

    Raises:
        InvalidRequestError: the logits do not fit the codes, or are elsewhere.
        ContractMismatchError: the labels are not valid at the temperature.
        Those of `TorchDecoder.decode`; in the backward pass, too.
    """
    _require_fitting(student_logits, codes, slice_bytes)
    _require_valid(codes.decoder.header, temperature)
    wide = _wide(student_logits)
    slice_rows = max(1, slice_bytes // (student_logits.shape[1] * wide.itemsize))
    divergence: Callable[..., Tensor] = _SlicedDivergence.apply
    loss = divergence(student_logits, codes, temperature, slice_rows)
    return loss * temperature**2 if scale_by_temperature_squared else loss


class _SlicedDivergence(torch.autograd.Function):
    """Saves the student's logits, the rows and the teacher's values of the last slice."""

    @staticmethod
    def forward(
        ctx: Any, student: Tensor, codes: CodedLabels, temperature: float, slice_rows: int
    ) -> Tensor:
        total = torch.zeros((), dtype=_wide(student), device=student.device)
        shares = student.new_empty(0)
        # Autocast would compute in half precision, in whichever pass it happens to be on.
        with torch.autocast(student.device.type, enabled=False):
            for part in _slices(len(student), slice_rows):
                log_student = _log_softmax(student[part], temperature)
                shares, log_shares = _teacher(codes, part, temperature, log_student.dtype)
                # Where a share is 0, its logarithm may be anything finite.
                total += log_shares.sub_(log_student).mul_(shares).sum()
        ctx.codes, ctx.temperature, ctx.slice_rows = codes, temperature, slice_rows
        ctx.save_for_backward(student, shares, codes.rows, codes.context)
        return total / len(student)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        # Rows are saved so that torch notices if they were changed since.
        student, last, _, _ = ctx.saved_tensors
        scale = upstream / (ctx.temperature * len(student))
        gradient = torch.empty_like(student)
        with torch.autocast(student.device.type, enabled=False):
            for part in _slices(len(student), ctx.slice_rows):
                values = _log_softmax(student[part], ctx.temperature).exp_()
                shares = last
                if part.stop < len(student):
                    shares, _ = _teacher(ctx.codes, part, ctx.temperature, values.dtype)
                # Stored probabilities need not sum to one.
                values.mul_(shares.sum(dim=1, keepdim=True)).sub_(shares)
                gradient[part] = values.mul_(scale)
        return gradient, None, None, None


def _teacher(
    codes: CodedLabels, part: slice, temperature: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Shares of the classes and their logarithms, each of shape (n, C), newly allocated."""
    labels = codes.decode(part).to(dtype)
    if codes.decoder.header.label_kind is LabelKind.LOGITS:
        # In place: each temporary is as large as the slice.
        log_shares = torch.log_softmax(labels.div_(temperature), dim=1)
        return torch.exp(log_shares, out=labels), log_shares
    return labels, labels.clamp(min=torch.finfo(dtype).tiny).log_()


def _log_softmax(logits: Tensor, temperature: float) -> Tensor:
    return torch.log_softmax(logits.to(_wide(logits)) / temperature, dim=1)


def _wide(logits: Tensor) -> torch.dtype:
    return torch.promote_types(logits.dtype, torch.float32)


def _slices(count: int, rows: int) -> Iterator[slice]:
    for start in range(0, count, rows):
        yield slice(start, min(start + rows, count))


def _require_fitting(student_logits: Tensor, codes: CodedLabels, slice_bytes: int) -> None:
    if not isinstance(codes, CodedLabels):
        raise InvalidRequestError(
            f"codes come as CodedLabels, not {type(codes).__name__}; take them from"
            " label_set.code_reader(), or decoded labels to soft_label_loss"
        )
    shape = (len(codes), codes.decoder.header.num_classes)
    if tuple(student_logits.shape) != shape or not len(codes):
        raise InvalidRequestError(
            f"student logits of shape {tuple(student_logits.shape)} for labels of shape {shape};"
            " give one row of logits for each label, and at least one"
        )
    if not student_logits.is_floating_point():
        raise InvalidRequestError(f"student logits must be float, not {student_logits.dtype}")
    if student_logits.device != codes.rows.device:
        raise InvalidRequestError(
            f"student logits are on {student_logits.device}, codes on {codes.rows.device}; say"
            f" code_reader(device={str(student_logits.device)!r})"
        )
    if slice_bytes < 1:
        raise InvalidRequestError(f"slice_bytes is {slice_bytes}, must be at least 1")


def _require_valid(header: CodecHeader, temperature: float) -> None:
    # Written so that NaN fails.
    if not 0 < temperature < float("inf"):
        raise InvalidRequestError(f"temperature {temperature} is not a number above 0")
    ends = header.temperatures
    if ends is not None and temperature not in ends:
        raise ContractMismatchError(
            f"these labels are right at temperatures {ends.low:g} to {ends.high:g}, not at"
            f" {temperature:g}; train at one of theirs",
            field="temperature",
            expected=temperature,
            actual=f"{ends.low:g} to {ends.high:g}",
        )
