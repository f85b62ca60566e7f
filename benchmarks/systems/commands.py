"""The commands that a user would run, as processes of their own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from labelcast_glyphs.local_service import LocalService

ROOT = Path(__file__).parents[2]
TEACHER = "benchmarks.systems.teacher:load"


def labelcast(*arguments: object) -> str:
    """Run `labelcast`.

    Returns:
        What it printed.

    Raises:
        subprocess.CalledProcessError: it failed, and has said why on stderr.
    """
    # From the root: the teacher is named by its import path.
    command = [sys.executable, "-m", "labelcast.cli", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def labelcast_json(*arguments: object) -> dict[str, Any]:
    """Run a command of `labelcast` that knows --json."""
    found: dict[str, Any] = json.loads(labelcast(*arguments, "--json"))
    return found


def push(label_set: Path, tag: str, service: LocalService) -> None:
    """Run `labelcast push`."""
    where = ("--admin", service.admin, "--token-file", service.token_file)
    labelcast("push", label_set, "--tag", tag, *where)
