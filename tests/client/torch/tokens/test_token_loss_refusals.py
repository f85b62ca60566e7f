"""What losses of tokens refuse, and whether their advice works."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from labelcast.codec import LabelKind
from labelcast.errors import (
    CodecFormatError,
    CodeRangeError,
    ContractMismatchError,
    InvalidRequestError,
    LabelValueError,
)
from labelcast.torch.tokens.divergences import TokenLoss
from labelcast.torch.tokens.heads.student_head import StudentHead
from labelcast.torch.tokens.losses import token_loss, token_loss_of_states
from labelcast.torch.tokens.sparse_rows import SparseRows
from labelcast.torch.tokens.teachers import DenseLabels, NamedLabels, StateLabels
from tests.factories.token_students import MASK, logits_of, student
from tests.factories.token_teachers import (
    TEACHERS,
    TOKENS,
    VOCABULARY,
    WIDTH,
    sparse,
    state_labels,
    teacher_head,
)


def test_samples_are_for_losses_that_are_linear_in_them() -> None:
    rows = sparse(1.0, "cpu").labels
    assert isinstance(rows, NamedLabels)
    labels = NamedLabels(rows.rows, VOCABULARY, drawn=True)
    logits = logits_of(*student())
    for loss in (TokenLoss.REVERSE_KL, TokenLoss.JENSEN_SHANNON):
        with pytest.raises(ContractMismatchError, match="use cross-entropy or forward-kl"):
            token_loss(logits, labels, loss=loss)
    for loss in (TokenLoss.CROSS_ENTROPY, TokenLoss.FORWARD_KL):
        assert bool(token_loss(logits, labels, loss=loss) > 0)


@pytest.mark.parametrize("kind", ["sparse-zero", "probabilities-zero", "logits-excluding"])
def test_a_reverse_divergence_from_zeros_is_refused(kind: str) -> None:
    labels, logits = TEACHERS[kind](1.0, "cpu").labels, logits_of(*student())
    with pytest.raises(
        LabelValueError, match="use forward-kl or jensen-shannon, or labels that sp"
    ):
        token_loss(logits, labels, loss=TokenLoss.REVERSE_KL)
    # What the advice names.
    spread = TEACHERS["sparse-spread"](1.0, "cpu").labels
    assert bool(torch.isfinite(token_loss(logits, spread, loss=TokenLoss.REVERSE_KL)))
    for loss in (TokenLoss.FORWARD_KL, TokenLoss.JENSEN_SHANNON):
        assert bool(torch.isfinite(token_loss(logits, labels, loss=loss)))


def test_zeros_of_tokens_that_do_not_count_matter_to_nobody() -> None:
    values = torch.randn(TOKENS, VOCABULARY)
    values[~MASK, 0] = -torch.inf
    labels = DenseLabels(values, LabelKind.LOGITS)
    loss = token_loss(logits_of(*student()), labels, loss=TokenLoss.REVERSE_KL, mask=MASK)
    assert bool(torch.isfinite(loss))


def test_losses_go_by_their_names() -> None:
    labels, (states, head) = state_labels(1.0, "cpu").labels, student()
    for loss in TokenLoss:
        expected = token_loss_of_states(states, head, labels, loss=loss)
        named: Any = str(loss)
        assert torch.equal(token_loss_of_states(states, head, labels, loss=named), expected)
        assert torch.isclose(token_loss(logits_of(states, head), labels, loss=named), expected)


@pytest.mark.parametrize(
    ("more", "padding", "advice"),
    [
        (3, 0, "or say padding=3 if the student's has the same tokens"),
        (3, 4, "of which 4 are padding, the labels are over a vocabulary of 13"),
        (-2, 0, "train a student with the teacher's tokenizer"),
    ],
)
def test_another_vocabulary_is_refused_with_both_named(
    more: int, padding: int, advice: str
) -> None:
    labels, columns = state_labels(1.0, "cpu").labels, VOCABULARY + more
    head = StudentHead(torch.zeros(columns, 2), padding=padding)
    calls: list[Callable[[], Tensor]] = [
        lambda: token_loss(torch.zeros(TOKENS, columns), labels, padding=padding),
        lambda: token_loss_of_states(torch.zeros(TOKENS, 2), head, labels),
    ]
    for call in calls:
        with pytest.raises(ContractMismatchError) as caught:
            call()
        assert f"logits of {columns} tokens" in caught.value.message
        assert f"vocabulary of {VOCABULARY}" in caught.value.message
        assert advice in caught.value.message
    # What the advice names.
    token_loss(torch.zeros(TOKENS, VOCABULARY + 3), labels, padding=3)


def test_labels_of_one_temperature_are_refused_at_another() -> None:
    for kind in ("sparse-zero", "probabilities"):
        with pytest.raises(ContractMismatchError, match="not at 2; train at one of theirs"):
            token_loss(logits_of(*student()), TEACHERS[kind](1.0, "cpu").labels, temperature=2)


def test_what_does_not_fit_is_refused() -> None:
    labels, logits = state_labels(1.0, "cpu").labels, logits_of(*student())
    none = StateLabels(torch.zeros(0, WIDTH), teacher_head())
    nobody = torch.zeros(TOKENS, dtype=torch.bool)
    for student_logits, given, more, message in [
        (logits[:-1], labels, {}, "give one for each label, and at least one"),
        (logits[:0], none, {}, "give one for each label, and at least one"),
        (logits, labels, {"mask": nobody}, "no token of the batch counts; leave such a batch out"),
        (logits, labels, {"mask": nobody[1:]}, "must be bool of shape (11,): True where a token"),
        (logits, labels, {"mask": nobody.int()}, "the mask is torch.int32 of shape (11,)"),
        (logits[None], labels, {}, "flatten the batch with logits.flatten(0, 1)"),
        (logits.long(), labels, {}, "must be float, not torch.int64"),
        (logits.to("meta"), labels, {}, "labels on cpu; say code_reader(device='meta')"),
        (logits, labels, {"slice_bytes": 0}, "slice_bytes is 0, must be at least 1"),
        (logits, labels, {"padding": -1}, "padding is -1, must be at least 0"),
        (logits, labels, {"temperature": 0.0}, "temperature 0.0 is not a number above 0"),
        (logits, labels, {"temperature": float("nan")}, "temperature nan is not a number above"),
        (logits, labels, {"beta": 1.0}, "at the ends use the losses forward-kl and reverse-kl"),
        (logits, labels, {"loss": "kl"}, "forward-kl"),
        (logits, logits, {}, "take them from label_set.code_reader(), or make DenseLabels of dec"),
    ]:
        with pytest.raises(InvalidRequestError) as caught:
            token_loss(student_logits, given, **more)  # type: ignore[arg-type]
        assert message in caught.value.message
    states, head = student()
    with pytest.raises(InvalidRequestError) as caught:
        token_loss_of_states(states[:, 1:], head, labels)
    assert "do not fit a head of width 5; give (tokens, width)" in caught.value.message
    cases: list[tuple[dict[str, Any], str]] = [
        ({"weight": head.weight[0]}, "must be float of shape"),
        ({"bias": torch.zeros(3)}, "does not fit a head of 13 rows"),
        ({"scale": 0.0}, "scale is 0.0, must be finite and not 0"),
        ({"softcap": -1.0}, "softcap is -1.0, must be above 0"),
    ]
    for broken, message in cases:
        with pytest.raises(InvalidRequestError, match=message):
            StudentHead(**({"weight": head.weight} | broken))


def test_labels_that_are_none_are_refused() -> None:
    ids, shares, rest = torch.tensor([[0, 1]]), torch.tensor([[0.5, 0.4]]), torch.tensor([0.0])
    for given, error, message in [
        ((ids + VOCABULARY, shares, rest), CodeRangeError, "outside the vocabulary of 13"),
        ((ids * 0, shares, rest), CodecFormatError, "names one token twice"),
        ((ids, -shares, rest), LabelValueError, "no token"),
        ((ids, shares * torch.nan, rest), LabelValueError, "not finite"),
        ((ids, shares, rest - 1), LabelValueError, "negative"),
        ((ids, shares[:, :1], rest), CodecFormatError, r"give \(N, k\), \(N, k\) and \(N,\)"),
    ]:
        with pytest.raises(error, match=message):
            NamedLabels(SparseRows.of(*given, lumped=False), VOCABULARY)
    for values, kind in [
        (torch.tensor([[0.0, torch.nan]]), LabelKind.LOGITS),
        (torch.tensor([[0.0, torch.inf]]), LabelKind.LOGITS),
        (torch.tensor([[1.5, -0.5]]), LabelKind.PROBABILITIES),
    ]:
        with pytest.raises(LabelValueError, match="labels hold NaN, infinity, or probabilities"):
            DenseLabels(values, kind)
    with pytest.raises(CodecFormatError, match=r"must be \(T, V\)"):
        DenseLabels(torch.zeros(3), LabelKind.LOGITS)
    with pytest.raises(CodecFormatError, match="do not fit <TeacherHead of 13 tokens"):
        StateLabels(torch.zeros(3, WIDTH + 1), teacher_head())
