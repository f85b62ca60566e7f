"""`Position`: a place in a training run."""

from dataclasses import dataclass
from typing import Any, Self

from labelcast.errors import InvalidRequestError


@dataclass(frozen=True, order=True, slots=True)
class Position:
    """A place in a training run, to keep in a checkpoint; later places are greater.

    Attributes:
        epoch: index into the full list of seeds of the run, from 0; the number of epochs once the
            run is over.
        row: number of rows of that epoch that come before.

    Raises:
        InvalidRequestError: one of the two is no integer, or below 0.
    """

    epoch: int = 0
    row: int = 0

    def __post_init__(self) -> None:
        for name, value in (("epoch", self.epoch), ("row", self.row)):
            if type(value) is not int or value < 0:
                raise InvalidRequestError(
                    f"a position's {name} must be an integer from 0 on, not {value!r}; take"
                    " next_position of the last batch trained on",
                    field="start",
                )

    def as_json(self) -> dict[str, int]:
        """JSON value that `from_json` reads back."""
        return {"epoch": self.epoch, "row": self.row}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read strictly.

        Raises:
            InvalidRequestError: `as_json` did not return this value.
        """
        if not isinstance(value, dict) or value.keys() != {"epoch", "row"}:
            raise InvalidRequestError(
                f"a position has an epoch and a row, not {value!r}; give what as_json returned",
                field="start",
            )
        return cls(**value)


START = Position()
