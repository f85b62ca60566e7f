"""What ml-dr's parameters say about a view."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from labelcast_producers.torchfile import TensorInfo

Drawn = TypeVar("Drawn")
# In the order in which they are applied, whatever the order of the configuration. What draws
# nothing has no place among compressed parameters.
_ORDER = (
    "resize",
    "random_crop",
    "random_resized_crop",
    "random_horizontal_flip",
    "rand_augment",
    "random_erase",
    "mixup",
    "cutmix",
)
_NO_NAMES = (
    "their parameters are compressed, and config.pth.tar, which names them, is not beside them"
)
_OTHER_NAMES = "their parameters are not those that config.pth.tar names"
_MIXES = frozenset({"mixup", "cutmix"})
# Pillow's number, and torchvision's name.
_BILINEAR = frozenset({"2", "bilinear"})
# Transforms that draw nothing and change no more than types and scales of values.
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


@dataclass(frozen=True, slots=True)
class Augmentation:
    """The transforms of a producer's `config.pth.tar`, which names compressed parameters.

    Attributes:
        names: of the transforms that draw something, in order.
        view_size: pixels a side of the views; None where the configuration does not say.
        obstacle: why no view can be drawn again, whatever was drawn; empty if they can.
    """

    names: tuple[str, ...]
    view_size: int | None
    obstacle: str = ""

    @classmethod
    def of(cls, config: Any) -> "Augmentation | None":
        """That of a configuration; None where it has none."""
        found = config.get("reinforce") if isinstance(config, Mapping) else None
        found = found.get("image_augmentation") if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping):
            return None
        transforms = {
            name: each
            for name, each in found.items()
            if isinstance(each, Mapping) and each.get("enable", True)
        }
        crop = transforms.get("random_resized_crop", {})
        size = crop.get("size")
        obstacles = [
            _applied(name)
            for name in transforms
            if name not in _ORDER and _plain(name) not in _NEUTRAL
        ]
        if size is not None and _side(size) is None:
            obstacles.append(f"crops were resized to {size}, and labelcast resizes to squares")
        resampling = str(crop.get("interpolation", "bilinear"))
        if resampling.lower() not in _BILINEAR:
            obstacles.append(
                f"crops were resized with interpolation {resampling}, and labelcast resizes"
                " bilinearly"
            )
        return cls(
            tuple(name for name in _ORDER if name in transforms),
            _side(size),
            next(iter(obstacles), ""),
        )

    def named(self, params: Sequence[Any]) -> dict[str, Any] | None:
        """Compressed parameters of a view by the names of their transforms.

        Returns:
            As files without compression have them; None where these are of other transforms.
        """
        named: dict[str, Any] = {}
        values = list(params)
        if _MIXES.intersection(self.names):
            if not values:
                return None
            named["id2"] = values.pop(0)
        if len(values) != len(self.names):
            return None
        return named | dict(zip(self.names, values, strict=True))


def view_of(params: Any, augmentation: Augmentation | None = None) -> View:
    """Read the parameters of one view.

    Args:
        params: of a file, or of its structure; a list where they are compressed.
        augmentation: that names compressed ones; None where nothing does.
    """
    if isinstance(params, list | tuple):
        if augmentation is None:
            return View(None, obstacle=_NO_NAMES)
        params = augmentation.named(params)
    if not isinstance(params, dict):
        return View(None, obstacle=_OTHER_NAMES)
    if augmentation is not None and augmentation.obstacle:
        return View(None, obstacle=augmentation.obstacle)
    return _read(params)


def _read(params: dict[str, Any]) -> View:
    """Named parameters of one view."""
    crop, flip = None, False
    for key, value in params.items():
        name = _plain(key)
        if name == "randomresizedcrop":
            crop = _own(value, _four)
        elif name == "randomhorizontalflip":
            own = _own(value, _truth)
            if own is None:
                return View(None, obstacle=f"{key} holds no flip")
            flip = own
        elif name not in _NEUTRAL and not _is_skipped(value):
            return View(None, obstacle=_applied(key))
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
    """Whether a transform was skipped by chance: None, or None for the image and its partner.

    An empty tuple is what a transform leaves that was applied and draws nothing.
    """
    if isinstance(value, list | tuple):
        return bool(value) and all(_is_skipped(each) for each in value)
    return value is None


def _side(size: Any) -> int | None:
    """Pixels a side, of a number, or of a list of one or of two that are equal."""
    if isinstance(size, list | tuple) and size and all(each == size[0] for each in size):
        size = size[0]
    return size if type(size) is int and size > 0 else None


def _plain(name: object) -> str:
    """A transform's name, however it is spelled."""
    return str(name).replace("_", "").lower()


def _applied(name: object) -> str:
    return f"{name} was applied, which labelcast cannot do again"
