"""Whether codes are asked for row by row, or whole shards fetched once: by bytes."""

from dataclasses import dataclass
from enum import StrEnum

_MIB = 2**20


class FetchShards(StrEnum):
    """When a client with a cache fetches whole shards of codes."""

    AUTO = "auto"
    """When they are fewer bytes than the rows."""
    ALWAYS = "always"
    """From the first codes on, if the cache may hold them."""
    NEVER = "never"
    """Codes are asked for row by row each time."""


@dataclass(frozen=True, slots=True)
class CodeChoice:
    """How the codes of a label set come.

    Attributes:
        whole_shards: True if whole shards are fetched once and rows gathered from them here; False
            if the service is asked for rows.
        reason: why, in a few words.
    """

    whole_shards: bool
    reason: str

    def __str__(self) -> str:
        return f"{'whole shards' if self.whole_shards else 'row by row'}: {self.reason}"


def choose(
    rule: FetchShards, *, row_bytes: int, missing_bytes: int, all_bytes: int, max_bytes: int
) -> CodeChoice:
    """Choose how codes come.

    Args:
        rule: what the user wants.
        row_bytes: bytes of the rows that this process has asked for and is known to want yet.
        missing_bytes: bytes that are not in the cache, of the blobs that hold all rows.
        all_bytes: bytes of all these blobs.
        max_bytes: bytes that the cache may hold.
    """
    if rule is FetchShards.NEVER:
        return CodeChoice(False, "fetch_shards is never")
    if all_bytes > max_bytes:
        larger = f"{_mib(all_bytes)} would exceed cache_mib, {max_bytes / _MIB:g}"
        return CodeChoice(False, larger)
    if not missing_bytes:
        return CodeChoice(True, "all are in the cache")
    if rule is FetchShards.ALWAYS:
        return CodeChoice(True, "fetch_shards is always")
    compared = f"{_mib(missing_bytes)} to fetch, {_mib(row_bytes)} of rows"
    return CodeChoice(row_bytes >= missing_bytes, compared)


def _mib(size: int) -> str:
    return f"{size / _MIB:.3g} MiB"
