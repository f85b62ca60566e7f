"""Which pictures: those that students learn from, and two kinds of others."""

from enum import StrEnum


class Part(StrEnum):
    """A set of pictures.

    TRAIN: what students learn from.
    HELD_OUT: other things in other places: neither photograph nor wallpaper is of `TRAIN`.
    KNOWN_THINGS: the things of `TRAIN` in the places of `HELD_OUT`, so that nobody has seen the
        pictures, but students can know what they show.
    """

    TRAIN = "train"
    HELD_OUT = "held-out"
    KNOWN_THINGS = "known-things"

    @property
    def things_of(self) -> "Part":
        """Whose photographs are shown."""
        return Part.HELD_OUT if self is Part.HELD_OUT else Part.TRAIN

    @property
    def places_of(self) -> "Part":
        """Whose wallpapers are behind them."""
        return Part.TRAIN if self is Part.TRAIN else Part.HELD_OUT


TESTED = (Part.HELD_OUT, Part.KNOWN_THINGS)
