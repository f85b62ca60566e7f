"""The teacher's side of a loss: what it predicted for each token of a batch.

Shape letters: `T` tokens of a batch, `n` of a slice, `V` vocabulary, `d` channels of a state.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from labelcast.codec import LabelKind, TemperatureRange
from labelcast.errors import CodecFormatError, LabelValueError
from labelcast.identifiers import one_of
from labelcast.torch.tokens.divergences import (
    Compared,
    Objective,
    compare_logits,
    compare_probabilities,
    compare_sparse,
)
from labelcast.torch.tokens.heads.teacher_head import TeacherHead
from labelcast.torch.tokens.sparse_rows import Part, SparseRows


class Teacher(ABC):
    """Labels of the tokens of one batch, which are compared a slice at a time.

    Attributes:
        vocabulary: tokens of the teacher's tokenizer, V.
        temperatures: temperatures at which the labels are valid; None for any.
        device: device of the labels.
        kept: what labels are made from: whoever changes it before the backward pass is told.
    """

    vocabulary: int
    temperatures: TemperatureRange | None = None
    device: torch.device
    kept: tuple[Tensor, ...]
    drawn: bool = False
    """Whether labels are random samples, right on average alone."""

    @abstractmethod
    def __len__(self) -> int:
        """Tokens, T."""

    @abstractmethod
    def compare(self, objective: Objective, student: Tensor, part: Part) -> Compared:
        """Compare some tokens with the student's.

        Args:
            objective: what is minimised.
            student: float32 or float64, shape (n, V): the student's logits; overwritten.
            part: which tokens.
        """


class StateLabels(Teacher):
    """A teacher's last hidden states and its head.

    Args:
        states: float, shape (T, d), after the final norm.
        head: the teacher's head, on the same device.

    Raises:
        CodecFormatError: states of another width, or elsewhere.
    """

    def __init__(self, states: Tensor, head: TeacherHead) -> None:
        if states.ndim != 2 or states.shape[1] != head.spec.width or states.device != head.device:
            raise CodecFormatError(
                f"states of shape {tuple(states.shape)} on {states.device} do not fit {head!r}"
            )
        self._states, self._head = states.detach(), head
        self.vocabulary, self.device, self.kept = head.vocabulary, states.device, (self._states,)

    def __len__(self) -> int:
        return len(self._states)

    def compare(self, objective: Objective, student: Tensor, part: Part) -> Compared:
        """See `Teacher.compare`."""
        logits = self._head.logits(self._states[part].float())
        return compare_logits(objective, student, logits.to(student.dtype))


class NamedLabels(Teacher):
    """Labels that name a few tokens.

    Args:
        rows: labels.
        vocabulary: tokens, V.
        temperature: temperature of the probabilities.
        drawn: whether they are random samples.

    Raises:
        CodecError: what `SparseRows.check` refuses.
    """

    def __init__(
        self, rows: SparseRows, vocabulary: int, *, temperature: float = 1.0, drawn: bool = False
    ) -> None:
        rows.check(vocabulary)
        self.rows, self.vocabulary, self.drawn = rows, vocabulary, drawn
        self.temperatures = TemperatureRange(temperature, temperature)
        self.device, self.kept = rows.ids.device, (rows.ids, rows.probabilities, rows.rest)

    def __len__(self) -> int:
        return len(self.rows)

    def compare(self, objective: Objective, student: Tensor, part: Part) -> Compared:
        """See `Teacher.compare`."""
        return compare_sparse(objective, student, self.rows.at(part).to(student.dtype))


class DenseLabels(Teacher):
    """Labels of all tokens, where there is room for them.

    Args:
        values: float, shape (T, V).
        kind: kind of the values; a logit may be −inf.
        temperature: temperature of probabilities; has no effect on logits.

    Raises:
        LabelValueError: NaN, infinity, or probabilities below 0.
    """

    def __init__(self, values: Tensor, kind: LabelKind, *, temperature: float = 1.0) -> None:
        self._kind = one_of(LabelKind, kind, "kind")
        if values.ndim != 2:
            raise CodecFormatError(f"labels of shape {tuple(values.shape)} must be (T, V)")
        logits = self._kind is LabelKind.LOGITS
        least, most = values.aminmax() if values.numel() else (values.new_zeros(()),) * 2
        # Written so that NaN fails.
        if not (bool(most < torch.inf) and (logits or bool(least >= 0))):
            raise LabelValueError("labels hold NaN, infinity, or probabilities below 0")
        if not logits:
            self.temperatures = TemperatureRange(temperature, temperature)
        self._values, self.vocabulary = values.detach(), values.shape[1]
        self.device, self.kept = values.device, (self._values,)

    def __len__(self) -> int:
        return len(self._values)

    def compare(self, objective: Objective, student: Tensor, part: Part) -> Compared:
        """See `Teacher.compare`."""
        return compare_dense(objective, student, self._values[part], self._kind)


def compare_dense(
    objective: Objective, student: Tensor, values: Tensor, kind: LabelKind
) -> Compared:
    """Compare values of all tokens, which are left as they are, with the student's logits."""
    copied = values.to(student.dtype, copy=True)
    compare = compare_logits if kind is LabelKind.LOGITS else compare_probabilities
    return compare(objective, student, copied)
