"""The twelve text faces of DejaVu and which of them a network never trains on.

The fonts come with matplotlib, so every machine that installs the project has the same files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from matplotlib import get_data_path

Split = Literal["train", "held_out"]

# The position in this tuple is the `face_index` inside every sample ID: append, never reorder.
FACES: tuple[str, ...] = (
    "DejaVuSans",
    "DejaVuSans-Oblique",
    "DejaVuSans-Bold",
    "DejaVuSans-BoldOblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Oblique",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-BoldOblique",
    "DejaVuSerif",
    "DejaVuSerif-Italic",
    "DejaVuSerif-Bold",
    "DejaVuSerif-BoldItalic",
)

# One face of each family, and each another style. Every held-out style stays in the training
# faces of the two other families, and every family keeps three faces, the upright regular one
# among them: the test asks for a known family in a known style that never met.
HELD_OUT_FACES: tuple[str, ...] = (
    "DejaVuSans-Oblique",
    "DejaVuSansMono-Bold",
    "DejaVuSerif-BoldItalic",
)

_FACE_INDICES: dict[Split, tuple[int, ...]] = {
    "train": tuple(i for i, face in enumerate(FACES) if face not in HELD_OUT_FACES),
    "held_out": tuple(i for i, face in enumerate(FACES) if face in HELD_OUT_FACES),
}


def face_indices(split: Split) -> tuple[int, ...]:
    """Name the faces of one split.

    Args:
        split: "train" or "held_out".

    Returns:
        Positions in `FACES`, ascending; 9 for "train", 3 for "held_out".

    Raises:
        ValueError: another name.
    """
    if split not in _FACE_INDICES:
        raise ValueError(f"unknown split {split!r}; expected one of {sorted(_FACE_INDICES)}")
    return _FACE_INDICES[split]


def face_path(face: str) -> Path:
    """Find the font file of one face.

    Args:
        face: a member of `FACES`.

    Returns:
        The path of a TrueType file inside matplotlib's data directory.

    Raises:
        FileNotFoundError: this matplotlib was packaged without its fonts.
    """
    path = Path(get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"
    if not path.is_file():
        raise FileNotFoundError(f"matplotlib has no font file {path}")
    return path
