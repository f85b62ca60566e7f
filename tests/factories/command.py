"""`labelcast` as people call it, but in this process: a new one imports torch for seconds."""

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

from labelcast.cli.app import app
from labelcast.cli.run import exit_code_of


@dataclass(frozen=True)
class Done:
    """A command that has ended.

    Attributes:
        returncode: its exit status.
        stdout: what it printed.
        stderr: what it told people beside.
    """

    returncode: int
    stdout: str
    stderr: str


def run_labelcast(*arguments: str) -> Done:
    """A command of `labelcast`."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with redirect_stdout(stdout), redirect_stderr(stderr):
        status = exit_code_of(app, name="labelcast", arguments=list(arguments), extra="producers")
    return Done(status, stdout.getvalue(), stderr.getvalue())
