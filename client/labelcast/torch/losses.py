"""Distillation losses."""

import torch
from torch import Tensor
from torch.nn import functional

from labelcast.codec import LabelKind


def soft_label_loss(
    student_logits: Tensor, labels: Tensor, label_kind: LabelKind, *, temperature: float = 1.0
) -> Tensor:
    """KL divergence from teacher to student at a temperature, mean over the batch, no T² factor.

    Args:
        student_logits: float, shape (N, C).
        labels: float of any precision, shape (N, C).
        label_kind: what `labels` are; probabilities are taken as they are, at their temperature.
        temperature: of the student's softmax, and of the teacher's where labels are logits.

    Returns:
        Scalar, in nats.
    """
    log_student = functional.log_softmax(student_logits / temperature, dim=1)
    labels = labels.to(student_logits.dtype)
    if label_kind is LabelKind.PROBABILITIES:
        return functional.kl_div(log_student, labels, reduction="batchmean")
    log_teacher = functional.log_softmax(labels / temperature, dim=1)
    return functional.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)


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
