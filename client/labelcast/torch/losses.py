"""Distillation losses."""

import math
from enum import StrEnum

import torch
from torch import Tensor
from torch.nn import functional

from labelcast.codec import LabelKind
from labelcast.errors import ContractMismatchError, InvalidRequestError
from labelcast.identifiers import one_of

EDC_HARD_WEIGHT = 0.025


class Loss(StrEnum):
    """Losses that a student can minimise, by the names that recipes use.

    KL is what SRe2L, CDA, RDED and LPLD use at temperature 20, SOFT_CE is FKD's, MSE_HARD is EDC's
    and COSINE the plain part of GIFT's.
    """

    KL = "kl"
    KL_T2 = "kl-t2"
    SOFT_CE = "soft-cross-entropy"
    MSE_HARD = "mse-hard"
    COSINE = "cosine"


def distillation_loss(
    loss: Loss,
    student_logits: Tensor,
    labels: Tensor,
    label_kind: LabelKind,
    *,
    temperature: float,
    label_temperature: float | None = None,
    hard_labels: Tensor | None = None,
    hard_weight: float = EDC_HARD_WEIGHT,
) -> Tensor:
    """Compute the loss that a recipe names.

    Args:
        loss: loss to compute.
        student_logits: float, shape (N, C).
        labels: float of any precision, shape (N, C).
        label_kind: kind of `labels`.
        temperature: softmax temperature of the student; MSE_HARD and COSINE have none.
        label_temperature: temperature that probabilities were taken at; must be given with them.
        hard_labels: int64, shape (N,): needed by MSE_HARD, ignored by the others.
        hard_weight: weight of MSE_HARD's second term.

    Returns:
        Scalar.

    Raises:
        InvalidRequestError: `label_temperature` or `hard_labels` is missing, there is no such loss,
            kind or temperature, or not a row of labels for each row of logits.
        ContractMismatchError: probabilities at another temperature, or where logits are needed.
    """
    loss, label_kind = one_of(Loss, loss, "loss"), one_of(LabelKind, label_kind, "label_kind")
    if loss is Loss.MSE_HARD:
        if hard_labels is None:
            raise InvalidRequestError(f"the loss {loss} needs hard_labels")
        return mse_hard_loss(
            student_logits, labels, hard_labels, label_kind=label_kind, hard_weight=hard_weight
        )
    if loss is Loss.COSINE:
        return cosine_loss(student_logits, labels, label_kind=label_kind)
    if label_kind is LabelKind.PROBABILITIES and label_temperature is None:
        raise InvalidRequestError("probabilities need label_temperature: that of the label set")
    if loss is Loss.SOFT_CE:
        return soft_cross_entropy(
            student_logits,
            labels,
            label_kind,
            temperature=temperature,
            label_temperature=label_temperature,
        )
    return soft_label_loss(
        student_logits,
        labels,
        label_kind,
        temperature=temperature,
        label_temperature=label_temperature,
        scale_by_temperature_squared=loss is Loss.KL_T2,
    )


def soft_label_loss(
    student_logits: Tensor,
    labels: Tensor,
    label_kind: LabelKind,
    *,
    temperature: float = 1.0,
    label_temperature: float | None = None,
    scale_by_temperature_squared: bool = False,
) -> Tensor:
    """KL divergence from teacher to student at a temperature, mean over the batch.

    Args:
        student_logits: float, shape (N, C).
        labels: float of any precision, shape (N, C).
        label_kind: kind of `labels`; probabilities are used unchanged, at their temperature.
        temperature: softmax temperature of the student, and of the teacher where labels are logits.
        label_temperature: temperature of the probabilities, to refuse any other; None to trust
            `temperature`. Has no effect on logits.
        scale_by_temperature_squared: whether gradients keep one size at any temperature
            (arXiv 1503.02531); the recipes of dataset distillation do not.

    Returns:
        Scalar, in nats, times T² if requested.

    Raises:
        ContractMismatchError: probabilities at another temperature.
        InvalidRequestError: there is no such kind or temperature, or not a row of labels for each
            row of logits.
    """
    label_kind = one_of(LabelKind, label_kind, "label_kind")
    _require_temperature(label_kind, temperature, label_temperature)
    _require_a_row_each(student_logits, labels)
    log_student = functional.log_softmax(student_logits / temperature, dim=1)
    labels = labels.to(student_logits.dtype)
    if label_kind is LabelKind.PROBABILITIES:
        loss = functional.kl_div(log_student, labels, reduction="batchmean")
    else:
        log_teacher = functional.log_softmax(labels / temperature, dim=1)
        loss = functional.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    return loss * temperature**2 if scale_by_temperature_squared else loss


def soft_cross_entropy(
    student_logits: Tensor,
    labels: Tensor,
    label_kind: LabelKind,
    *,
    temperature: float = 1.0,
    label_temperature: float | None = None,
) -> Tensor:
    """Cross-entropy with the teacher's distribution, mean over the batch.

    Its gradients are those of `soft_label_loss`; its value is larger by the teacher's entropy.

    Args:
        student_logits: float, shape (N, C).
        labels: float of any precision, shape (N, C).
        label_kind: kind of `labels`; probabilities are used unchanged, at their temperature.
        temperature: softmax temperature of the student, and of the teacher where labels are logits.
        label_temperature: temperature of the probabilities, to refuse any other; None to trust
            `temperature`. Has no effect on logits.

    Returns:
        Scalar, in nats.

    Raises:
        ContractMismatchError: probabilities at another temperature.
        InvalidRequestError: there is no such kind or temperature, or not a row of labels for each
            row of logits.
    """
    label_kind = one_of(LabelKind, label_kind, "label_kind")
    _require_temperature(label_kind, temperature, label_temperature)
    _require_a_row_each(student_logits, labels)
    labels = labels.to(student_logits.dtype)
    if label_kind is LabelKind.LOGITS:
        labels = torch.softmax(labels / temperature, dim=1)
    return functional.cross_entropy(student_logits / temperature, labels)


def mse_hard_loss(
    student_logits: Tensor,
    labels: Tensor,
    hard_labels: Tensor,
    *,
    label_kind: LabelKind = LabelKind.LOGITS,
    hard_weight: float = EDC_HARD_WEIGHT,
) -> Tensor:
    """EDC's loss: squared error of the logits plus weighted cross-entropy with hard labels.

    EDC (facts: shaoshitong/EDC at 98360665) takes only the class of the sample, even if CutMix
    shows a partner. Labels must hold a logit for every class, which top-k labels do not.

    Args:
        student_logits: float, shape (N, C).
        labels: float of any precision, shape (N, C): the teacher's logits.
        hard_labels: int64, shape (N,).
        label_kind: kind of `labels`.
        hard_weight: weight of the cross-entropy; by default that of EDC's ImageNet-1K scripts.

    Returns:
        Scalar: mean over batch and classes, plus `hard_weight` times nats.

    Raises:
        ContractMismatchError: labels are probabilities.
    """
    _require_logits(label_kind)
    _require_a_row_each(student_logits, labels)
    error = functional.mse_loss(student_logits, labels.to(student_logits.dtype))
    return error + hard_weight * functional.cross_entropy(student_logits, hard_labels)


def cosine_loss(
    student_logits: Tensor, labels: Tensor, *, label_kind: LabelKind = LabelKind.LOGITS
) -> Tensor:
    """One minus the cosine of student's and teacher's logits, mean over the batch.

    This is GIFT's loss without its refinement of labels by smoothed hard labels (arXiv 2405.14736).
    Labels must hold a logit for every class, which top-k labels do not.

    Args:
        student_logits: float, shape (N, C).
        labels: float of any precision, shape (N, C): the teacher's logits.
        label_kind: kind of `labels`.

    Returns:
        Scalar, from 0 to 2.

    Raises:
        ContractMismatchError: labels are probabilities.
    """
    _require_logits(label_kind)
    _require_a_row_each(student_logits, labels)
    labels = labels.to(student_logits.dtype)
    return 1 - functional.cosine_similarity(student_logits, labels, dim=1).mean()


def mixed_hard_loss(
    student_logits: Tensor, shown: Tensor, mixed_area: Tensor, *, label_smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy with the hard labels of sample and partner, weighted by area.

    Args:
        student_logits: float, shape (N, C).
        shown: int64, shape (2, N): hard labels of sample and partner.
        mixed_area: float, shape (N,): the partner's share of the view.
        label_smoothing: probability spread over all classes.

    Returns:
        Scalar, in nats.
    """
    own, partner = (
        functional.cross_entropy(
            student_logits, labels, reduction="none", label_smoothing=label_smoothing
        )
        for labels in shown
    )
    return torch.lerp(own, partner, mixed_area).mean()


def _require_temperature(
    label_kind: LabelKind, temperature: float, label_temperature: float | None
) -> None:
    if not 0 < temperature < math.inf:
        raise InvalidRequestError(
            f"the temperature is {temperature}, and must be a number above 0", field="temperature"
        )
    if label_kind is LabelKind.LOGITS or label_temperature in (None, temperature):
        return
    raise ContractMismatchError(
        f"these labels are probabilities at temperature {label_temperature:g}, the student's is"
        f" {temperature:g}; train at theirs",
        field="temperature",
        expected=temperature,
        actual=label_temperature,
    )


def _require_a_row_each(student_logits: Tensor, labels: Tensor) -> None:
    # Torch would take one label for the whole batch.
    if labels.shape != student_logits.shape:
        raise InvalidRequestError(
            f"labels of shape {tuple(labels.shape)} are not those of logits of shape"
            f" {tuple(student_logits.shape)}; give a row of labels for each row of logits"
        )


def _require_logits(label_kind: LabelKind) -> None:
    if one_of(LabelKind, label_kind, "label_kind") is not LabelKind.LOGITS:
        raise ContractMismatchError(
            f"this loss compares logits, and these labels are {label_kind}",
            field="label_kind",
            expected=LabelKind.LOGITS,
            actual=label_kind,
        )
