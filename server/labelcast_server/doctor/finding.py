"""What a check has found, and how bad it is."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        check: name of the check, a stable word for programs.
        level: "error" keeps a service from running, "warning" may hurt it later.
        message: what was found, in one line.
        remedy: what to do about it; None if nothing needs to be done.
    """

    check: str
    level: Level
    message: str
    remedy: str | None = None


def worst(findings: Iterable[Finding]) -> Level:
    """The worst level among findings; "ok" if there are none."""
    levels = {finding.level for finding in findings}
    return "error" if "error" in levels else "warning" if "warning" in levels else "ok"


def gib(count: int) -> str:
    """Bytes for messages."""
    return f"{count / 2**30:.1f} GiB"
