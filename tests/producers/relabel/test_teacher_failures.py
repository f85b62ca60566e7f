"""Teachers that fail on images: one line that names the reason, and advice that works."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from labelcast.errors import InvalidRequestError
from labelcast_producers.relabel.teacher import Teacher
from tests.factories.advice import Case, try_advice

CLASSES = 4
IMAGES = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def asked(network: nn.Module, images: Tensor = IMAGES) -> Tensor:
    logits = Teacher(network.eval(), "tiny").logits(images)
    assert logits.shape == (len(images), CLASSES)
    return logits


def half_body() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(108, 7).half(), nn.Linear(7, CLASSES))


def float_normalisation() -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(108, CLASSES).half())


def half_normalisation() -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(3).half(), nn.Conv2d(3, CLASSES, 6), nn.Flatten())


def half_beside_attention() -> nn.Module:
    attention = nn.TransformerEncoderLayer(36, 1, 8, batch_first=True)
    return nn.Sequential(nn.Flatten(2), attention.half(), nn.Flatten(), nn.Linear(108, CLASSES))


class Recurrent(nn.Module):
    """Its second layer raises another class of error than most do."""

    def __init__(self) -> None:
        super().__init__()
        self.entry, self.read = nn.Linear(36, 5).double(), nn.LSTM(5, CLASSES, batch_first=True)

    def forward(self, images: Tensor) -> Tensor:
        given: Tensor = self.read(self.entry(images.flatten(2)))[0]
        return given[:, -1]


class WithConstant(nn.Module):
    """Weights of half precision, multiplied by a constant of single precision."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(108, CLASSES).half()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(images.flatten(1))
        return logits @ torch.eye(CLASSES)


MIXED: list[Callable[[], nn.Module]] = [
    half_body,
    float_normalisation,
    half_normalisation,
    half_beside_attention,
    Recurrent,
    WithConstant,
]


@pytest.mark.parametrize("make", MIXED)
def test_types_that_do_not_go_together(make: Callable[[], nn.Module]) -> None:
    says = "give it a single one, as teacher.float() does"
    try_advice(Case(says, asked, lambda network: asked(network.float())), make())


def test_the_types_of_the_weights_are_named() -> None:
    with pytest.raises(InvalidRequestError, match=r"of torch\.float16 and torch\.float32, and it"):
        asked(half_body())


class ByKeyword(nn.Module):
    """As libraries of language models call their networks."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(108, CLASSES)

    def forward(self, *, pixel_values: Tensor) -> Tensor:
        logits: Tensor = self.head(pixel_values.flatten(1))
        return logits


class OfAttributes(ByKeyword):
    def forward(self, batch: Any) -> Tensor:  # type: ignore[override]
        return super().forward(pixel_values=batch.pixel_values)


class OfState(ByKeyword):
    """Reads its images from where another method puts them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, Tensor] = {}

    def forward(self, *_: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(pixel_values=self.seen["pixel_values"])


class WithoutForward(ByKeyword):
    forward = nn.Module.forward


class OfTokens(ByKeyword):
    """Wants numbers of words."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(2, 1)

    def forward(self, words: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(pixel_values=self.words(words))


class Wrapping(nn.Module):
    """Takes a batch of images, and calls another teacher as that wants it."""

    def __init__(self, inner: nn.Module, call: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.call = inner, call

    def forward(self, images: Tensor) -> Tensor:
        return self.call(self.inner, images)


def from_state(inner: OfState, images: Tensor) -> Tensor:
    inner.seen["pixel_values"] = images
    return inner()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("make", "error", "call"),
    [
        (ByKeyword, "TypeError: ", lambda inner, images: inner(pixel_values=images)),
        (OfState, "KeyError: 'pixel_values'", from_state),
        (
            OfAttributes,
            "AttributeError: 'Tensor' object",
            lambda inner, images: inner(SimpleNamespace(pixel_values=images)),
        ),
        (
            WithoutForward,
            "NotImplementedError: ",
            lambda inner, images: inner.head(images.flatten(1)),
        ),
        (OfTokens, "RuntimeError: ", lambda inner, images: inner((images > 0).long())),
    ],
)
def test_a_teacher_that_is_called_otherwise_can_be_wrapped(
    make: Callable[[], nn.Module], error: str, call: Callable[[Any, Tensor], Tensor]
) -> None:
    network = make()
    with pytest.raises(InvalidRequestError) as caught:
        asked(network)
    assert error in caught.value.message
    assert type(caught.value.__cause__).__name__ in error
    says = "); wrap it in a torch module whose forward takes a batch of images alone"
    try_advice(Case(says, asked, lambda inner: asked(Wrapping(inner, call))), network)


class OfOneSize(nn.Module):
    """Refuses images of another size, as libraries of vision models do."""

    def __init__(self, error: type[Exception]) -> None:
        super().__init__()
        self.head, self.error = nn.Linear(108, CLASSES), error

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1:] != (3, 6, 6):
            raise self.error(f"size {images.shape[-1]} doesn't match model (6).\nSee the docs.")
        logits: Tensor = self.head(images.flatten(1))
        return logits


@pytest.mark.parametrize("error", [AssertionError, IndexError, RuntimeError, ValueError])
def test_images_of_another_size(error: type[Exception]) -> None:
    network, wide = OfOneSize(error), torch.zeros(2, 3, 9, 9)
    says = (
        f"{error.__name__}: size 9 doesn't match model (6).); give it images of the size and"
        " channels that it was trained on, or wrap it in a torch module"
    )
    try_advice(Case(says, lambda network: asked(network, wide), asked), network)
    resized = Wrapping(network, lambda inner, images: inner(images[:, :, :6, :6]))
    assert asked(resized, wide).shape == (2, CLASSES)


class Greedy(nn.Module):
    """Needs a quarter of a petabyte for every view but the first."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(108, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        images.new_empty((len(images) - 1) * 2**46)
        logits: Tensor = self.head(images.flatten(1))
        return logits


def test_too_many_views_for_the_memory() -> None:
    says = "label fewer views at a time with relabel --batch-rows (in Python: batch_rows)"
    try_advice(Case(says, asked, lambda network: asked(network, IMAGES[:1])), Greedy())


def test_interrupting_a_teacher_is_no_failure() -> None:
    def stop(*_: object) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asked(Wrapping(nn.Identity(), stop))
