"""Which characters are the classes of Glyphs, and in which order.

A class is a letter, number, punctuation mark or symbol (Unicode categories L, N, P, S) that all
twelve faces can draw. Unicode holds many pairs that a font draws alike (Latin A, Greek Alpha,
Cyrillic A): of those only the first in our order is a class, whatever the face it coincides in.
"""

from __future__ import annotations

import functools
import hashlib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.ft2font import FT2Font
from numpy.typing import NDArray

from labelcast_glyphs.drawing.faces import FACES, face_path
from labelcast_glyphs.drawing.rendering import IMAGE_SIZE, open_face, render_character

_CATEGORIES = frozenset("LNPS")
_BLOCK = 256

# Two pictures count as the same when their squared difference is that of one full pixel or less.
# Exact equality would keep pairs that differ by rounding (U+00AF and U+02C9), and make the list
# depend on FreeType's version.
_SAME_PICTURE = 255**2

# Faint or empty pictures (U+FFFC has no ink at all) would be noise with a label.
_FAINTEST_PEAK = 64


@dataclass(frozen=True, eq=False)
class GlyphTable:
    """The classes and their pictures.

    Attributes:
        code_points: one per class, in class order.
        images: uint8, shape (num_classes, 12, 32, 32), read-only; axis 1 follows `FACES`.
    """

    code_points: tuple[int, ...]
    images: NDArray[np.uint8]


def class_name(code_point: int) -> str:
    """Spell a class for people, e.g. "U+0041 LATIN CAPITAL LETTER A"."""
    return f"U+{code_point:04X} {unicodedata.name(chr(code_point))}"


def candidate_code_points() -> list[int]:
    """List the characters that may become classes, in the order in which they are tried.

    Characters with a canonical decomposition (accented letters) come last, because an accent is
    two or three pixels here; within each half a hash of the code point orders them, so that any
    number of classes is a fair sample of scripts and symbols and a prefix of every larger one.

    Returns:
        Code points without repetition, newly allocated.

    Raises:
        FileNotFoundError: matplotlib was packaged without its fonts.
    """
    charmaps = [set(FT2Font(str(face_path(face))).get_charmap()) for face in FACES]
    shared = set.intersection(*charmaps)

    def rank(code_point: int) -> tuple[bool, bytes]:
        composed = unicodedata.decomposition(chr(code_point))
        canonical = bool(composed) and not composed.startswith("<")
        return canonical, hashlib.sha256(f"U+{code_point:04X}".encode()).digest()

    named = [
        code_point
        for code_point in shared
        if unicodedata.category(chr(code_point))[0] in _CATEGORIES
    ]
    return sorted(named, key=rank)


@functools.lru_cache(maxsize=2)
def glyph_table(num_classes: int) -> GlyphTable:
    """Choose the first `num_classes` distinct characters and draw them in every face.

    Args:
        num_classes: at least 1.

    Returns:
        The table, kept in memory for the life of the process (12 KiB a class). Class `i` is the
        same character for every `num_classes` above `i`.

    Raises:
        ValueError: fewer than 1, or more than the fonts share distinct characters.
        FileNotFoundError: matplotlib was packaged without its fonts.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, not {num_classes}")
    code_points: list[int] = []
    images = np.empty((num_classes, len(FACES), IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    for block_points, block in _rendered_blocks(candidate_code_points(), num_classes):
        kept = len(code_points)
        others = np.concatenate([images[:kept], block])
        clash = _same_picture_in_any_face(block, others)
        inked = (block.max(axis=(2, 3)) >= _FAINTEST_PEAK).all(axis=1)
        accepted: list[int] = list(range(kept))
        for offset in np.flatnonzero(inked).tolist():
            if len(code_points) == num_classes:
                break
            if not clash[offset, accepted].any():
                images[len(code_points)] = block[offset]
                code_points.append(block_points[offset])
                accepted.append(kept + offset)
        if len(code_points) == num_classes:
            images.flags.writeable = False
            return GlyphTable(tuple(code_points), images)
    raise ValueError(
        f"num_classes is {num_classes}, but the {len(FACES)} faces share only "
        f"{len(code_points)} distinct characters"
    )


def _rendered_blocks(
    code_points: list[int], num_classes: int
) -> Iterator[tuple[list[int], NDArray[np.uint8]]]:
    """Yield (code points, uint8 pictures of shape (n, 12, 32, 32)), drawn when asked for."""
    fonts = [open_face(face) for face in FACES]
    size = min(_BLOCK, num_classes)
    for start in range(0, len(code_points), size):
        block = code_points[start : start + size]
        yield (
            block,
            np.stack([[render_character(font, chr(point)) for font in fonts] for point in block]),
        )


def _same_picture_in_any_face(
    images: NDArray[np.uint8], others: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """Compare pictures of shape (n, 12, 32, 32) and (m, 12, 32, 32); bool, shape (n, m)."""
    same = np.zeros((len(images), len(others)), np.bool_)
    for face in range(images.shape[1]):
        # float64 holds these integers exactly, so the list cannot depend on the BLAS at hand.
        a = images[:, face].reshape(len(images), -1).astype(np.float64)
        b = others[:, face].reshape(len(others), -1).astype(np.float64)
        squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T
        same |= squared <= _SAME_PICTURE
    return same
