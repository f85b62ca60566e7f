"""Which files of two Debian packages are photographs, and which of them are held out."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from benchmarks.debian_packages import Package, unpacked
from benchmarks.imagenet.parts import Part

STAMPS = Package(
    "tuxpaint-stamps-default",
    "2022.06.04-1",
    "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
)
WALLPAPERS = Package(
    "mate-backgrounds",
    "1.26.0-1",
    "7bf4c2209f34b4f61ba6d24c8b58c28b361e82e4b943aae6d42c030169af9e04",
)
# A smaller one is a blur at the size of a picture.
_MIN_SIDE = 40
_HELD_OUT_OF = 4
_DRAWN_FOLDERS = frozenset(
    ("symbols", "cartoon", "roadsigns", "flags", "hats", "easter", "hanukkah", "newyears")
)
# Drawings among photographs, and what can hardly be seen; looked through by eye.
_DRAWN = Path(__file__).with_name("drawings.txt")
# The others are no photographs, or say the same again at another size or in another colour.
_WALLPAPER_FOLDER, _PAINTING = "nature", "abstract/Elephants.jpg"


@dataclass(frozen=True)
class Photographs:
    """Files of one part.

    Attributes:
        stamps: with transparency, to be put on wallpapers.
        wallpapers: without.
        stamp_root: directory that the names of stamps are relative to.
        wallpaper_root: the same of wallpapers.
    """

    stamps: Sequence[str]
    wallpapers: Sequence[str]
    stamp_root: Path
    wallpaper_root: Path


def photographs(part: Part, cache: Path) -> Photographs:
    """The photographs of a part, in an order that their names' digests give.

    Args:
        part: `TRAIN` and `HELD_OUT` share none.
        cache: directory for Debian packages.

    Raises:
        ValueError: apt brings another package than the one that was pinned.
        CalledProcessError: apt or dpkg failed, and has said why on stderr.
    """
    stamp_root = unpacked(STAMPS, cache) / "usr" / "share" / "tuxpaint" / "stamps"
    wallpaper_root = unpacked(WALLPAPERS, cache) / "usr" / "share" / "backgrounds" / "mate"
    return Photographs(
        of_part(part.things_of, stamp_names(stamp_root), group=thing),
        of_part(part.places_of, wallpaper_names(wallpaper_root), group=str),
        stamp_root,
        wallpaper_root,
    )


def stamp_names(root: Path) -> list[str]:
    """Paths of the photographs among the stamps, without drawings, letters, signs and blurs."""
    drawn = set(_DRAWN.read_text().split())
    names = [path.relative_to(root) for path in root.rglob("*.png")]
    return [
        name.as_posix()
        for name in names
        if _DRAWN_FOLDERS.isdisjoint(name.parts)
        # The same again, for those who cannot mirror it.
        and not name.stem.endswith("_mirror")
        and name.with_suffix("").as_posix() not in drawn
        and _longer_side(root / name) >= _MIN_SIDE
    ]


def wallpaper_names(root: Path) -> list[str]:
    """Paths of the photographs among the wallpapers, and of a painting."""
    photographed = sorted((root / _WALLPAPER_FOLDER).glob("*.jpg"))
    return [*(path.relative_to(root).as_posix() for path in photographed), _PAINTING]


def thing(name: str) -> str:
    """The first word of what a stamp shows: those that share it (cep-1, cep-2) stay in one part.

    Kin whose names begin otherwise (penguin, magellanic_penguin) may be on both sides.
    """
    return re.split(r"[_\-\d]", Path(name).stem.lower(), maxsplit=1)[0] or name


def of_part(part: Part, names: Sequence[str], *, group: Callable[[str], str]) -> list[str]:
    """The names of a part, by their digests.

    Args:
        part: `TRAIN` or `HELD_OUT`, which holds about a quarter of all groups.
        names: of all photographs.
        group: what must not be parted.
    """
    groups = sorted({group(name) for name in names}, key=_digest)
    held_out = set(groups[: max(1, len(groups) // _HELD_OUT_OF)])
    mine = [name for name in names if (group(name) in held_out) == (part is Part.HELD_OUT)]
    return sorted(mine, key=_digest)


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _longer_side(path: Path) -> int:
    with Image.open(path) as image:
        return max(image.size)
