"""Results on standard output: lines for people, JSON for programs."""

import json
from collections.abc import Sequence
from typing import Any

import typer


def print_json(value: Any) -> None:
    """Print one JSON document."""
    typer.echo(json.dumps(value, indent=2))


def print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Print names and values in two columns."""
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        typer.echo(plain(f"{name:<{width}}  {value}".rstrip()))


def print_columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; digests stay whole at any terminal width, so that they can be copied."""
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    for row in (head, *rows):
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        typer.echo(plain("  ".join(cells).rstrip()))


def plain(text: str) -> str:
    """Remove what a terminal would obey: names come from other people's manifests."""
    return "".join(character if character.isprintable() else "?" for character in text)


def bytes_of(count: int) -> str:
    """A row's size in words: 1 byte, 8 bytes."""
    return "1 byte" if count == 1 else f"{count} bytes"


def byte_text(count: float) -> str:
    """Bytes as people write them: 48.0 MB."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
