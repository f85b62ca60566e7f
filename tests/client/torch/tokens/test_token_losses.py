"""Losses of tokens against the formulas, written down over all logits."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from labelcast.codec import LabelKind
from labelcast.errors import (
    CodecFormatError,
    CodeRangeError,
    ContractMismatchError,
    InvalidRequestError,
    LabelValueError,
)
from labelcast.torch.tokens.divergences import TokenLoss
from labelcast.torch.tokens.losses import token_loss, token_loss_of_states
from labelcast.torch.tokens.sparse_rows import SparseRows
from labelcast.torch.tokens.student_head import StudentHead
from labelcast.torch.tokens.teachers import DenseLabels, NamedLabels, StateLabels
from tests.factories.token_teachers import (
    TEACHERS,
    TOKENS,
    VOCABULARY,
    WIDTH,
    sparse,
    state_labels,
    states_of,
    teacher_head,
)
from tests.factories.torch_memory import LargeTensors

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
every_device = pytest.mark.parametrize("device", DEVICES)
every_teacher = pytest.mark.parametrize("kind", TEACHERS)
every_loss = pytest.mark.parametrize("loss", TokenLoss)
STUDENT_WIDTH = 5
MASK = torch.arange(TOKENS) % 3 != 1
# Three tokens of a slice: none divides the tokens, of which MASK leaves a number that is none.
SLICE = 3 * 4 * VOCABULARY


def student(
    dtype: torch.dtype = torch.float32, padding: int = 0, device: str = "cpu", **more: Any
) -> tuple[Tensor, StudentHead]:
    generator = torch.Generator().manual_seed(7)

    def leaf(*shape: int) -> Tensor:
        drawn = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return drawn.to(device, dtype).requires_grad_()

    states, weight = leaf(TOKENS, STUDENT_WIDTH), leaf(VOCABULARY + padding, STUDENT_WIDTH)
    bias = leaf(VOCABULARY + padding) if more.pop("bias", False) else None
    return states, StudentHead(weight, bias, padding=padding, **more)


def leaves(states: Tensor, head: StudentHead) -> list[Tensor]:
    return [states, head.weight, *([] if head.bias is None else [head.bias])]


def logits_of(states: Tensor, head: StudentHead) -> Tensor:
    products = states @ head.weight.T
    logits = (products if head.bias is None else products + head.bias) * head.scale
    return logits if head.softcap is None else head.softcap * torch.tanh(logits / head.softcap)


def undefined(kind: str, loss: TokenLoss) -> bool:
    """Whether a loss of these labels is infinite."""
    zeros = {"sparse-zero", "probabilities-zero", "logits-excluding"}
    return loss is TokenLoss.REVERSE_KL and kind in zeros


def assert_same(ours: Tensor, theirs: Tensor, relative: float = 1e-5) -> None:
    torch.testing.assert_close(
        ours.double(),
        theirs.double(),
        rtol=relative,
        atol=relative * float(theirs.detach().abs().max()),
    )


@every_device
@every_loss
@every_teacher
@pytest.mark.parametrize("mask", [None, MASK], ids=["all", "masked"])
@pytest.mark.parametrize("squared", [False, True])
def test_value_and_gradients_are_those_of_the_formula(
    kind: str, loss: TokenLoss, mask: Tensor | None, squared: bool, device: str
) -> None:
    if undefined(kind, loss):
        return
    for temperature in (1.0,) if TEACHERS[kind](1.0, device).fixed else (1.0, 2.5):
        teacher = TEACHERS[kind](temperature, device)
        variants: list[dict[str, Any]] = [
            {},
            {"bias": True, "scale": 0.7, "softcap": 2.0},
            {"padding": 3},
        ]
        for more in variants:
            states, head = student(device=device, **more)
            options: dict[str, Any] = {
                "loss": loss,
                "temperature": temperature,
                "beta": 0.3,
                "mask": mask,
                "scale_by_temperature_squared": squared,
            }
            expected = teacher.loss(logits_of(states, head)[:, :VOCABULARY], **options)
            expected_gradients = torch.autograd.grad(expected, leaves(states, head))
            found = token_loss_of_states(states, head, teacher.labels, slice_bytes=SLICE, **options)
            assert_same(found, expected)
            for ours, theirs in zip(
                torch.autograd.grad(found, leaves(states, head)), expected_gradients, strict=True
            ):
                assert_same(ours, theirs)
            logits = logits_of(states, head)
            found = token_loss(
                logits, teacher.labels, padding=head.padding, slice_bytes=SLICE, **options
            )
            assert_same(found, expected)
            for ours, theirs in zip(
                torch.autograd.grad(found, leaves(states, head)), expected_gradients, strict=True
            ):
                assert_same(ours, theirs)


@every_loss
@pytest.mark.parametrize(
    "kind", ["states-capped", "probabilities", "sparse-spread", "sparse-lumped"]
)
def test_gradients_in_double_precision_are_those_of_differences(kind: str, loss: TokenLoss) -> None:
    labels = TEACHERS[kind](1.0, "cpu").labels
    states, head = student(torch.float64, bias=True, softcap=2.0)
    assert head.bias is not None
    given = (states, head.weight, head.bias)

    def of_states(states: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        made = StudentHead(weight, bias, softcap=2.0)
        return token_loss_of_states(states, made, labels, loss=loss, slice_bytes=SLICE)

    assert token_loss_of_states(states, head, labels, loss=loss).dtype is torch.float64
    assert torch.autograd.gradcheck(of_states, given, fast_mode=True)
    logits = logits_of(states, head).detach().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda each: token_loss(each, labels, loss=loss, slice_bytes=SLICE), logits, fast_mode=True
    )


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_students_in_half_precision(dtype: torch.dtype, loss: TokenLoss) -> None:
    teacher = state_labels(1.0, "cpu")
    states, head = student(dtype, bias=True)
    options: dict[str, Any] = {"loss": loss, "temperature": 1.0, "beta": 0.5, "mask": None}
    wide = [each.detach().float().requires_grad_() for each in leaves(states, head)]
    exact = teacher.loss(
        logits_of(wide[0], StudentHead(wide[1], wide[2])),
        scale_by_temperature_squared=False,
        **options,
    )
    # As a GradScaler does it: small gradients of halves must not have been lost before.
    expected = torch.autograd.grad(exact * 1024, wide)
    found = token_loss_of_states(states, head, teacher.labels, **options)
    coarse = 2e-2 if dtype is torch.bfloat16 else 2e-3
    assert found.dtype is torch.float32
    assert_same(found, exact, coarse)
    for ours, theirs in zip(
        torch.autograd.grad(found * 1024, leaves(states, head)), expected, strict=True
    ):
        assert ours.dtype is dtype
        assert_same(ours, theirs, coarse)
    logits = logits_of(*student(torch.float32)).detach().to(dtype).requires_grad_()
    wide_logits = logits.detach().float().requires_grad_()
    exact = teacher.loss(wide_logits, scale_by_temperature_squared=False, **options)
    (of_logits,) = torch.autograd.grad(exact * 1024, wide_logits)
    found = token_loss(logits, teacher.labels, **options)
    (ours,) = torch.autograd.grad(found * 1024, logits)
    assert_same(found, exact)
    assert_same(ours, of_logits, 1e-2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_changes_no_loss(dtype: torch.dtype) -> None:
    labels = state_labels(1.0, "cpu").labels
    states, head = student()
    expected = torch.autograd.grad(token_loss_of_states(states, head, labels), leaves(states, head))
    with torch.autocast("cpu", dtype):
        found = token_loss_of_states(states, head, labels)
        gradients = torch.autograd.grad(found, leaves(states, head))
    for ours, theirs in zip(gradients, expected, strict=True):
        assert torch.equal(ours, theirs)


def test_it_can_be_gone_through_twice_and_without_gradients() -> None:
    labels = state_labels(1.0, "cpu").labels
    states, head = student()
    for loss, given in (
        (token_loss_of_states(states, head, labels), (states, head.weight)),
        (token_loss(states @ head.weight.T, labels), (states, head.weight)),
    ):
        first = torch.autograd.grad(loss, given, retain_graph=True)
        for one, other in zip(first, torch.autograd.grad(loss, given), strict=True):
            torch.testing.assert_close(one, other)
        with torch.no_grad():
            assert not token_loss_of_states(states, head, labels).requires_grad
            assert_same(token_loss_of_states(states, head, labels), loss)


def test_a_frozen_head_or_body_gets_no_gradient() -> None:
    labels = state_labels(1.0, "cpu").labels
    for frozen in (0, 1):
        given = leaves(*student())
        given[frozen].requires_grad_(False)
        token_loss_of_states(given[0], StudentHead(given[1]), labels).backward()
        assert given[frozen].grad is None
        assert given[1 - frozen].grad is not None


@pytest.mark.parametrize("changed", ["states", "weight", "labels"])
def test_buffers_that_are_filled_again_before_the_backward_pass_are_noticed(changed: str) -> None:
    rows = torch.tensor(states_of())
    labels = StateLabels(rows, teacher_head())
    states, head = student()
    loss = token_loss_of_states(states * 1, head, labels)
    logits = states @ head.weight.T
    other = token_loss(logits, labels)
    with torch.no_grad():
        {"states": logits, "weight": head.weight, "labels": rows}[changed].zero_()
    noticed = {"states": [other], "weight": [loss, other], "labels": [loss, other]}[changed]
    for each in noticed:
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            each.backward(retain_graph=True)


def test_what_does_not_count_has_no_gradient() -> None:
    labels = state_labels(1.0, "cpu").labels
    states, head = student(padding=3)
    logits = logits_of(states, head).detach().requires_grad_()
    with torch.no_grad():
        logits[~MASK] = torch.nan
    token_loss(logits, labels, mask=MASK, padding=3).backward()
    token_loss_of_states(states, head, labels, mask=MASK).backward()
    assert logits.grad is not None
    assert states.grad is not None
    assert head.weight.grad is not None
    for unused in (logits.grad[~MASK], logits.grad[:, VOCABULARY:], states.grad[~MASK]):
        assert not unused.any()
    assert not head.weight.grad[VOCABULARY:].any()
    assert logits.grad[MASK][:, :VOCABULARY].all()


def test_no_more_than_a_slice_of_logits_exists() -> None:
    count, whole = 200, 200 * VOCABULARY
    labels = StateLabels(torch.tensor(states_of(count=count)), teacher_head())
    states = torch.randn(count, STUDENT_WIDTH, requires_grad=True)
    _, head = student()
    with LargeTensors(states, head.weight, *labels.kept) as large:
        token_loss_of_states(states, head, labels, slice_bytes=SLICE).backward()
    assert [size for size in large.sizes if size > max(states.numel(), 3 * VOCABULARY)] == []
    logits = (states @ head.weight.T).detach().requires_grad_()
    with LargeTensors(logits, *labels.kept) as large:
        token_loss(logits, labels, slice_bytes=SLICE).backward()
    assert [size for size in large.sizes if size > 3 * VOCABULARY] == [whole]


def test_samples_give_the_gradient_of_the_teacher_on_average() -> None:
    teacher = state_labels(1.0, "cpu")
    logits = logits_of(*student()).detach().requires_grad_()
    expected = torch.autograd.grad(
        token_loss(logits, teacher.labels, loss=TokenLoss.CROSS_ENTROPY), logits
    )[0]
    generator, draws = torch.Generator().manual_seed(3), 400
    found = []
    for _ in range(draws):
        ids = torch.multinomial(teacher.probabilities, 12, replacement=True, generator=generator)
        counts = nn.functional.one_hot(ids, VOCABULARY).sum(dim=1)
        shares, named = counts.float().div(12).sort(dim=1, descending=True)
        rows = SparseRows.of(named, shares, torch.zeros(TOKENS), lumped=False)
        labels = NamedLabels(rows, VOCABULARY, drawn=True)
        loss = token_loss(logits, labels, loss=TokenLoss.CROSS_ENTROPY)
        found.append(torch.autograd.grad(loss, logits)[0])
    gradients = torch.stack(found)
    error = gradients.std(dim=0) / draws**0.5
    assert bool(((gradients.mean(dim=0) - expected).abs() <= 5 * error + 1e-7).all())


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
    with pytest.raises(
        InvalidRequestError, match=r"do not fit a head of width 5; give \(tokens, wi"
    ):
        token_loss_of_states(states[:, 1:], head, labels)
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
