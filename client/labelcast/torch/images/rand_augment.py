"""RandAugment replayed: the operations that a producer drew, on 8-bit images, with Pillow.

The operations are timm's, with the arguments that reach Pillow and not timm's magnitudes, so that
its settings (increasing or not, translation limits) do not matter here. Resampling is bicubic and
pixels from outside are (124, 116, 104), as in LPQLD's labelling (facts: he-y's
soft-label-pruning-quantization at 107c7a5d).
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelcast.augmentation import NO_OPERATION, OPERATIONS
from labelcast.errors import InvalidRequestError

if TYPE_CHECKING:
    from PIL.Image import Image

    Operation = Callable[[Image, float], Image]

FILL = (124, 116, 104)
_GREY_FILL = 117  # FILL in Pillow's own grey (ITU-R 601)
_ADD_BELOW = 128
_MODES = {1: "L", 3: "RGB"}
# Interpolated images leave [0, 1] only by rounding; a normalised image leaves it by far.
_RANGE_SLACK = 1e-3


def rand_augment(
    image: Tensor, operations: NDArray[np.uint8], magnitudes: NDArray[np.float32]
) -> Tensor:
    """Apply the operations of one view to its source image, in their order.

    Args:
        image: float, shape (channels, height, width), from 0 to 1, grey or RGB; rounded to 8 bits,
            which changes nothing if it came from 8 bits.
        operations: uint8, shape (layers,): indices into OPERATIONS, or NO_OPERATION.
        magnitudes: float32, shape (layers,): the operation's own argument.

    Returns:
        An image of the same shape, type and device with multiples of 1/255; `image` itself if there
        is nothing to do.

    Raises:
        InvalidRequestError: an image of another kind or range, an unknown operation, or no Pillow.
    """
    if (operations == NO_OPERATION).all():
        return image
    require_unit_range(image, "RandAugment")
    if len(image) not in _MODES:
        raise InvalidRequestError(f"RandAugment needs 1 or 3 channels, not {len(image)}")
    picture = _as_picture(image)
    for operation, magnitude in zip(operations.tolist(), magnitudes.tolist(), strict=True):
        picture = apply_operation(picture, operation, magnitude)
    pixels = torch.from_numpy(np.array(picture)).reshape(*image.shape[1:], -1).permute(2, 0, 1)
    return pixels.to(image.device, image.dtype) / 255


def apply_operation(image: "Image", operation: int, magnitude: float) -> "Image":
    """Apply one operation.

    Args:
        image: Pillow image of mode L or RGB.
        operation: index into OPERATIONS; NO_OPERATION changes nothing.
        magnitude: argument of the operation: Rotate degrees counter-clockwise; Posterize the bits
            that are kept; Solarize the least value that is inverted; SolarizeAdd the amount added
            to values below 128; Color, Contrast, Brightness and Sharpness a factor, 1 for no
            change; ShearX and ShearY a factor; TranslateXRel and TranslateYRel the share of width
            or height that the image moves to the left or up. The others take none.

    Raises:
        InvalidRequestError: an unknown operation, or no Pillow.
    """
    if operation == NO_OPERATION:
        return image
    if not 0 <= operation < len(OPERATIONS):
        raise InvalidRequestError(f"there is no RandAugment operation {operation}")
    return _operations()[operation](image, magnitude)


def require_unit_range(images: Tensor, what: str) -> None:
    """Refuse images that are already normalised.

    Raises:
        InvalidRequestError: a value outside [0, 1], or NaN.
    """
    low, high = (float(end) for end in images.aminmax())
    # Written so that NaN fails.
    if not (low >= -_RANGE_SLACK and high <= 1 + _RANGE_SLACK):
        raise InvalidRequestError(
            f"{what} needs images from 0 to 1, not {low:g} to {high:g}: normalise rendered views"
        )


def _as_picture(image: Tensor) -> "Image":
    _require_pillow()
    from PIL import Image

    pixels = (image.detach() * 255).round().clamp(0, 255).to("cpu", torch.uint8)
    rows = pixels.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(rows[:, :, 0] if len(image) == 1 else rows)


def _require_pillow() -> None:
    try:
        import_module("PIL")
    except ImportError:
        raise InvalidRequestError(
            "replaying RandAugment needs Pillow; pip install 'labelcast[torch]'"
        ) from None


@cache
def _operations() -> "tuple[Operation, ...]":
    """What each of OPERATIONS does; Pillow is imported on first use."""
    _require_pillow()
    from PIL import Image, ImageEnhance, ImageOps

    def moved(image: "Image.Image", *matrix: float) -> "Image.Image":
        return image.transform(
            image.size,
            Image.Transform.AFFINE,
            matrix,
            resample=Image.Resampling.BICUBIC,
            fillcolor=_fill(image),
        )

    def rotated(image: "Image.Image", degrees: float) -> "Image.Image":
        return image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=_fill(image))

    def posterized(image: "Image.Image", bits: float) -> "Image.Image":
        # Pillow once took 0 bits, which timm draws, for black; now it refuses them.
        if int(bits) <= 0:
            return Image.new(image.mode, image.size)
        return image if bits >= 8 else ImageOps.posterize(image, int(bits))

    def solarize_added(image: "Image.Image", added: float) -> "Image.Image":
        table = [min(255, v + int(added)) if v < _ADD_BELOW else v for v in range(256)]
        return image.point(table * len(image.getbands()))

    table: dict[str, Operation] = {
        "AutoContrast": lambda image, _: ImageOps.autocontrast(image),
        "Equalize": lambda image, _: ImageOps.equalize(image),
        "Invert": lambda image, _: ImageOps.invert(image),
        "Rotate": rotated,
        "Posterize": posterized,
        "Solarize": lambda image, threshold: ImageOps.solarize(image, int(threshold)),
        "SolarizeAdd": solarize_added,
        "Color": lambda image, factor: ImageEnhance.Color(image).enhance(factor),
        "Contrast": lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
        "Brightness": lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
        "Sharpness": lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor),
        "ShearX": lambda image, factor: moved(image, 1, factor, 0, 0, 1, 0),
        "ShearY": lambda image, factor: moved(image, 1, 0, 0, factor, 1, 0),
        "TranslateXRel": lambda image, share: moved(image, 1, 0, share * image.width, 0, 1, 0),
        "TranslateYRel": lambda image, share: moved(image, 1, 0, 0, 0, 1, share * image.height),
    }
    return tuple(table[name] for name in OPERATIONS)


def _fill(image: "Image") -> int | tuple[int, ...]:
    return FILL if image.mode == "RGB" else _GREY_FILL
