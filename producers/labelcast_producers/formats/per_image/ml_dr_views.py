"""What ml-dr's parameters say about a view."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from labelcast_producers.torchfile import TensorInfo

Drawn = TypeVar("Drawn")
# Transforms that draw nothing and change only types and scales of values.
_NEUTRAL = frozenset({"uint8", "touint8", "totensor", "normalize", "id2"})


@dataclass(frozen=True, slots=True)
class View:
    """One stored view.

    Attributes:
        crop: top, left, height, width in pixels; None where the view cannot be drawn again.
        flip: whether the view is flipped after the crop.
        obstacle: why it cannot be drawn again; empty if it can.
    """

    crop: tuple[float, float, float, float] | None
    flip: bool = False
    obstacle: str = ""


def view_of(params: Any) -> View:
    """Read the parameters of one view.

    Args:
        params: parameters from a file, or from its structure.
    """
    if not isinstance(params, dict):
        return View(None, obstacle="their parameters are compressed, without names")
    crop, flip = None, False
    for key, value in params.items():
        name = str(key).replace("_", "").lower()
        if name == "randomresizedcrop":
            crop = _own(value, _four)
        elif name == "randomhorizontalflip":
            own = _own(value, _truth)
            if own is None:
                return View(None, obstacle=f"{key} holds no flip")
            flip = own
        elif name not in _NEUTRAL and not _is_skipped(value):
            return View(None, obstacle=f"{key} was applied, which labelcast cannot do again")
    if crop is None:
        return View(None, obstacle="there is no RandomResizedCrop of four numbers")
    return View(crop, flip)


def _own(value: Any, read: Callable[[Any], Drawn | None]) -> Drawn | None:
    """The value drawn for the image itself: alone, or before the partner's."""
    found = read(value)
    if found is None and isinstance(value, list | tuple) and 1 <= len(value) <= 2:
        found = read(value[0])
    return found


def _four(value: Any) -> tuple[float, float, float, float] | None:
    if isinstance(value, TensorInfo):
        # Read as structure only, so the numbers are missing.
        return (0.0, 0.0, 1.0, 1.0) if value.shape == (4,) else None
    if not isinstance(value, list | tuple | np.ndarray) or len(value) != 4:
        return None
    if not all(isinstance(each, int | float | np.number) for each in value):
        return None
    top, left, height, width = (float(each) for each in value)
    return top, left, height, width


def _truth(value: Any) -> bool | None:
    if isinstance(value, TensorInfo):
        return False if value.shape in ((), (1,)) else None
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    return bool(value) if isinstance(value, bool | np.bool_ | int) and value in (0, 1) else None


def _is_skipped(value: Any) -> bool:
    """Whether a transform was skipped by chance: None, or None for the image and its partner."""
    return value is None or (
        isinstance(value, list | tuple) and all(_is_skipped(each) for each in value)
    )
