"""Policies of views that labelcast cannot make: their labels are served, their pixels are not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from labelcast.errors import ManifestError


@dataclass(frozen=True, slots=True)
class UnrenderedPolicy:
    """A policy that consists of its name."""

    name: ClassVar[str]
    meaning: ClassVar[str]

    def as_json(self) -> dict[str, Any]:
        """JSON value that `from_json` reads back."""
        return {"policy": self.name}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read strictly.

        Raises:
            ManifestError: an unknown field.
        """
        if set(value) != {"policy"}:
            raise ManifestError(f"augmentation policy: {cls.name} has no fields")
        return cls()


@dataclass(frozen=True, slots=True)
class PositionPolicy(UnrenderedPolicy):
    """The seed is a token's position in the sample, a sequence."""

    name: ClassVar[str] = "positions/1"
    meaning: ClassVar[str] = "token positions, not images"


@dataclass(frozen=True, slots=True)
class ForeignPolicy(UnrenderedPolicy):
    """Views that were made in ways that their files do not say, or that labelcast cannot repeat."""

    name: ClassVar[str] = "foreign/1"
    meaning: ClassVar[str] = "its maker's own, which cannot be made again from what is known"
