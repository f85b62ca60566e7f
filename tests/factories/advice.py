"""Messages that give advice, as rows of a table: what causes them, and what they say to do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import pytest

from labelcast.errors import LabelcastError

Place = TypeVar("Place")


@dataclass(frozen=True)
class Case(Generic[Place]):
    """One message.

    Attributes:
        says: the advice, word for word.
        cause: what leads to the message, given a place to do it in.
        advice: does what the message says, once for each thing that it offers.
    """

    says: str
    cause: Callable[[Place], object]
    advice: Callable[[Place], object]


def try_advice(case: Case[Place], place: Place) -> None:
    """Cause the error, look for the advice, and take it."""
    with pytest.raises(LabelcastError) as caught:
        case.cause(place)
    assert case.says in caught.value.message
    assert "\n" not in caught.value.message
    case.advice(place)
