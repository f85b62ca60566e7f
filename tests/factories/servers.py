"""Servers that a machine might have, as programs that say so: for choices before any starts."""

from pathlib import Path

import pytest


def program(directory: Path, release: str, *, does: str = "exit 99") -> Path:
    """A program that says it is a server such as "Redis 7.0.15".

    Args:
        directory: where it lies; created if missing.
        release: kind and version.
        does: shell commands that it runs if it is started.
    """
    kind, version = release.split()
    path = directory / f"{kind.lower()}-server"
    directory.mkdir(exist_ok=True)
    banner = f"{kind} server v={version} sha=00000000:0 malloc=libc"
    path.write_text(
        f'#!/bin/sh\nif [ "$1" = --version ]; then echo "{banner}"; exit; fi\nPATH=/bin\n{does}\n'
    )
    path.chmod(0o700)
    return path


def only_on_path(monkeypatch: pytest.MonkeyPatch, *directories: Path) -> None:
    """Have no server but those in `directories`: none of a wheel's, nor of the machine's."""
    monkeypatch.setenv("PATH", ":".join(map(str, directories)))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
