"""One character of one face as a 32×32 grey picture.

Every character of a face is drawn at one size on one baseline, so that `c` and `C`, or a comma and
an apostrophe, stay different pictures; only the ink's horizontal middle is moved to the centre.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from labelcast_glyphs.drawing.faces import face_path

IMAGE_SIZE = 32

# Drawing at four times the size and averaging hides the hinting of small sizes, in which
# FreeType's versions differ most, and makes the grey levels those of the true outline.
_OVERSAMPLING = 4
_CANVAS = IMAGE_SIZE * _OVERSAMPLING
_EM = 24 * _OVERSAMPLING
_BASELINE = 24 * _OVERSAMPLING
_MARGIN = 2


def open_face(face: str) -> ImageFont.FreeTypeFont:
    """Open a face at the size that `render_character` draws in.

    Args:
        face: a member of `labelcast_glyphs.drawing.faces.FACES`.

    Returns:
        A font without complex layout: one code point is one glyph, with or without libraqm.

    Raises:
        FileNotFoundError: matplotlib was packaged without its fonts.
    """
    return ImageFont.truetype(str(face_path(face)), _EM, layout_engine=ImageFont.Layout.BASIC)


def render_character(font: ImageFont.FreeTypeFont, character: str) -> NDArray[np.uint8]:
    """Draw one character, white ink (255) on black (0).

    Args:
        font: from `open_face`.
        character: a single code point.

    Returns:
        uint8, shape (32, 32), newly allocated; all zero if the character has no ink.
    """
    left, top, right, bottom = (int(edge) for edge in font.getbbox(character, anchor="ls"))
    width, height = right - left, bottom - top
    if width <= 0 or height <= 0:
        return np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    ink = Image.new("L", (width, height))
    ImageDraw.Draw(ink).text((-left, -top), character, fill=255, font=font, anchor="ls")

    room = _CANVAS - 2 * _MARGIN
    middle = _BASELINE + (top + bottom) / 2
    scale = min(room / width, room / height, 1.0)
    if scale < 1.0:
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
        ink = ink.resize((width, height), Image.Resampling.BOX)
    # A stacked accent or a deep descender may leave the canvas: move the glyph, never cut it.
    row = min(max(round(middle - height / 2), _MARGIN), _CANVAS - _MARGIN - height)
    canvas = Image.new("L", (_CANVAS, _CANVAS))
    canvas.paste(ink, ((_CANVAS - width) // 2, row))

    blocks = np.asarray(canvas, dtype=np.uint32).reshape(
        IMAGE_SIZE, _OVERSAMPLING, IMAGE_SIZE, _OVERSAMPLING
    )
    area = _OVERSAMPLING * _OVERSAMPLING
    averaged: NDArray[np.uint8] = ((blocks.sum(axis=(1, 3)) + area // 2) // area).astype(np.uint8)
    return averaged
