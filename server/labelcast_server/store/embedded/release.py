"""Kinds and versions of server, and which of them can open whose data.

What the servers themselves do with each other's files (tried with Redis 6.2.14 and 7.0.15 and
Valkey 9.1.2, all with an append-only file):

    ============  ==================  ===================  ===================
    written by    opened by Redis 6.2 opened by Redis 7.0  opened by Valkey 9
    ============  ==================  ===================  ===================
    Redis 6.2     yes                 yes, and moves them  yes, and moves them
    Redis 7.0     **shows no keys**   yes                  yes
    Valkey 9      **shows no keys**   no, once rewritten   yes
    ============  ==================  ===================  ===================

So data only ever go to a later release, and from Redis to Valkey.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")
# Redis 7.4 writes a version of the RDB format that Valkey does not read.
_LAST_REDIS_THAT_VALKEY_OPENS = (7, 2)


class ServerKind(StrEnum):
    """A server that speaks the Redis protocol."""

    REDIS = "redis"
    VALKEY = "valkey"

    @property
    def display_name(self) -> str:
        """Its name in sentences."""
        return self.value.capitalize()

    @property
    def program(self) -> str:
        """Name of its executable."""
        return f"{self.value}-server"


@dataclass(frozen=True, slots=True)
class ServerRelease:
    """A kind of server in one version.

    Attributes:
        kind: Redis or Valkey.
        version: (major, minor, patch).
    """

    kind: ServerKind
    version: tuple[int, int, int]

    @classmethod
    def parse(cls, kind: str, version: str) -> "ServerRelease":
        """Make a release of texts such as "redis" and "6.2.14".

        Raises:
            ValueError: one of them is neither.
        """
        found = _VERSION.fullmatch(version)
        if found is None:
            raise ValueError(f"{version!r} is no version")
        major, minor, patch = (int(part or 0) for part in found.groups())
        return cls(ServerKind(kind), (major, minor, patch))

    def __str__(self) -> str:
        return f"{self.kind.display_name} {self.version_text}"

    @property
    def version_text(self) -> str:
        """The version as text, such as "6.2.14"."""
        return ".".join(map(str, self.version))

    @property
    def line(self) -> tuple[int, int]:
        """(major, minor): patches change no format."""
        return self.version[:2]

    def writes_like(self, other: "ServerRelease") -> bool:
        """Whether each can open what the other wrote."""
        return (self.kind, self.line) == (other.kind, other.line)

    def opens_data_of(self, other: "ServerRelease") -> bool:
        """Whether it can open, and from then on keep, what `other` wrote."""
        if self.kind is other.kind:
            return self.line >= other.line
        return self.kind is ServerKind.VALKEY and other.line <= _LAST_REDIS_THAT_VALKEY_OPENS

    def is_later_than(self, other: "ServerRelease") -> bool:
        """Whether data of `other` may have come to this release, but not the other way round."""
        if self.kind is other.kind:
            return self.version > other.version
        return self.kind is ServerKind.VALKEY
