"""Losses of tokens, straight from labels that are still rows."""

from typing import Any

import torch
from torch import Tensor

from labelcast.errors import ContractMismatchError, InvalidRequestError
from labelcast.identifiers import one_of
from labelcast.torch.coded_labels import CodedLabels
from labelcast.torch.tokens.coded_teachers import teacher_of
from labelcast.torch.tokens.divergences import Objective, TokenLoss
from labelcast.torch.tokens.heads.student_head import StudentHead
from labelcast.torch.tokens.sliced import Comparison, LossOfLogits, LossOfStates
from labelcast.torch.tokens.teachers import Teacher

# Logits of a slice: 170 tokens of a vocabulary of 49,152. Fewer tokens make slower products.
SLICE_BYTES = 2**25


def token_loss_of_states(
    states: Tensor,
    head: StudentHead,
    labels: CodedLabels | Teacher,
    *,
    loss: TokenLoss = TokenLoss.FORWARD_KL,
    temperature: float = 1.0,
    beta: float = 0.5,
    mask: Tensor | None = None,
    scale_by_temperature_squared: bool = False,
    slice_bytes: int = SLICE_BYTES,
) -> Tensor:
    """Loss of a student's last hidden states: neither its logits nor the teacher's ever exist.

    Logits of both sides are made a slice of tokens at a time, and the gradients of states and head
    with them in the forward pass. Products are of the wider type of states and head; bfloat16 gives
    logits as the model would. They are exact in that type under autocast, too.

    Args:
        states: float, shape (T, ds): what the student's head is applied to.
        head: the student's head.
        labels: labels of the same T tokens, from `label_set.code_reader()`, or a `Teacher`.
        loss: what is minimised.
        temperature: softmax temperature of both sides.
        beta: the teacher's weight β of JENSEN_SHANNON.
        mask: bool, shape (T,): tokens that count; None if all do.
        scale_by_temperature_squared: whether gradients keep one size at any temperature.
        slice_bytes: bytes of one side's logits that exist at once, a token's at least; temporary
            values take as much a few times.

    Returns:
        Scalar, mean over the tokens that count, in nats: float32, or float64 for a student in
        double precision.

    Raises:
        InvalidRequestError: an argument that is none, shapes or devices that do not fit, or no
            token that counts.
        ContractMismatchError: another vocabulary, labels that are not valid at the temperature, or
            a loss that they do not define.
        LabelValueError: the loss is infinite.
        Those of `TorchDecoder.decode`; in the backward pass, too.
    """
    teacher = teacher_of(labels)
    if states.ndim != 2 or states.shape[1] != head.weight.shape[1]:
        raise InvalidRequestError(
            f"states of shape {tuple(states.shape)} do not fit a head of width"
            f" {head.weight.shape[1]}; give (tokens, width)"
        )
    _require_vocabulary(len(head.weight), head.padding, teacher.vocabulary)
    tensors = (states, head.weight) if head.bias is None else (states, head.weight, head.bias)
    objective = Objective(one_of(TokenLoss, loss, "loss"), temperature, beta)
    comparison = _comparison(teacher, objective, tensors, mask, slice_bytes)
    function: Any = LossOfStates.apply
    mean: Tensor = function(states, head.weight, head.bias, head, comparison, *teacher.kept)
    return mean * temperature**2 if scale_by_temperature_squared else mean


def token_loss(
    student_logits: Tensor,
    labels: CodedLabels | Teacher,
    *,
    loss: TokenLoss = TokenLoss.FORWARD_KL,
    temperature: float = 1.0,
    beta: float = 0.5,
    mask: Tensor | None = None,
    padding: int = 0,
    scale_by_temperature_squared: bool = False,
    slice_bytes: int = SLICE_BYTES,
) -> Tensor:
    """Loss of a student's logits, where a model has made them; the teacher's never exist.

    Args:
        student_logits: float, shape (T, V + padding).
        labels: as of `token_loss_of_states`, and so are the other arguments.
        loss: what is minimised.
        temperature: softmax temperature of both sides.
        beta: the teacher's weight β of JENSEN_SHANNON.
        mask: bool, shape (T,): tokens that count; None if all do.
        padding: columns after those of the tokens, which no token names; they are cut off.
        scale_by_temperature_squared: whether gradients keep one size at any temperature.
        slice_bytes: bytes of the teacher's logits that exist at once.

    Returns:
        As `token_loss_of_states`.

    Raises:
        As `token_loss_of_states`.
    """
    teacher = teacher_of(labels)
    if student_logits.ndim != 2:
        raise InvalidRequestError(
            f"student logits of shape {tuple(student_logits.shape)} must be (tokens, vocabulary);"
            " flatten the batch with logits.flatten(0, 1)"
        )
    _require_vocabulary(student_logits.shape[1], padding, teacher.vocabulary)
    objective = Objective(one_of(TokenLoss, loss, "loss"), temperature, beta)
    comparison = _comparison(teacher, objective, (student_logits,), mask, slice_bytes)
    function: Any = LossOfLogits.apply
    mean: Tensor = function(student_logits, comparison, *teacher.kept)
    return mean * temperature**2 if scale_by_temperature_squared else mean


def _comparison(
    teacher: Teacher,
    objective: Objective,
    tensors: tuple[Tensor, ...],
    mask: Tensor | None,
    slice_bytes: int,
) -> Comparison:
    student = tensors[0]
    for tensor in tensors:
        if not tensor.is_floating_point():
            raise InvalidRequestError(f"the student's tensors must be float, not {tensor.dtype}")
        if tensor.device != teacher.device:
            raise InvalidRequestError(
                f"the student is on {tensor.device}, labels on {teacher.device}; say"
                f" code_reader(device={str(tensor.device)!r})"
            )
    if len(student) != len(teacher) or not len(teacher):
        raise InvalidRequestError(
            f"{len(student)} tokens of the student for {len(teacher)} labels; give one for each"
            " label, and at least one"
        )
    if slice_bytes < 1:
        raise InvalidRequestError(f"slice_bytes is {slice_bytes}, must be at least 1")
    _require_defined(teacher, objective)
    wide = torch.promote_types(student.dtype, torch.float32)
    slice_rows = max(1, slice_bytes // (teacher.vocabulary * wide.itemsize))
    differentiated = torch.is_grad_enabled() and any(each.requires_grad for each in tensors)
    return Comparison(teacher, objective, _counted(mask, student), slice_rows, differentiated)


def _counted(mask: Tensor | None, student: Tensor) -> Tensor | None:
    if mask is None:
        return None
    if mask.dtype is not torch.bool or mask.shape != student.shape[:1]:
        raise InvalidRequestError(
            f"the mask is {mask.dtype} of shape {tuple(mask.shape)}, must be bool of shape"
            f" ({len(student)},): True where a token counts"
        )
    counted = mask.to(student.device).nonzero().squeeze(1)
    if not len(counted):
        raise InvalidRequestError("no token of the batch counts; leave such a batch out")
    return counted


def _require_vocabulary(columns: int, padding: int, vocabulary: int) -> None:
    if padding < 0:
        raise InvalidRequestError(f"padding is {padding}, must be at least 0")
    if columns - padding == vocabulary:
        return
    advice = "train a student with the teacher's tokenizer"
    if columns > vocabulary:
        advice += f", or say padding={columns - vocabulary} if the student's has the same tokens"
    declared = f" of which {padding} are padding," if padding else ""
    raise ContractMismatchError(
        f"the student has logits of {columns} tokens,{declared} the labels are over a vocabulary"
        f" of {vocabulary}; {advice}",
        field="vocabulary",
        expected=columns - padding,
        actual=vocabulary,
    )


def _require_defined(teacher: Teacher, objective: Objective) -> None:
    ends, temperature = teacher.temperatures, objective.temperature
    if ends is not None and temperature not in ends:
        raise ContractMismatchError(
            f"these labels are right at temperatures {ends.low:g} to {ends.high:g}, not at"
            f" {temperature:g}; train at one of theirs",
            field="temperature",
            expected=temperature,
            actual=f"{ends.low:g} to {ends.high:g}",
        )
    if teacher.drawn and not objective.loss.linear:
        raise ContractMismatchError(
            f"these labels are samples, right on average, which {objective.loss} is not made for;"
            " use cross-entropy or forward-kl",
            field="loss",
            expected=objective.loss,
            actual="sampled labels",
        )
