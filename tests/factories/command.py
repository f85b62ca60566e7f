"""`labelcast` as people call it, but in this process: a new one imports torch for seconds."""

import io
from contextlib import redirect_stderr, redirect_stdout
from subprocess import CompletedProcess

from labelcast.cli.app import app
from labelcast.cli.run import exit_code_of


def run_labelcast(*arguments: str) -> CompletedProcess[str]:
    """A command of `labelcast`: its exit status and what it printed."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with redirect_stdout(stdout), redirect_stderr(stderr):
        status = exit_code_of(app, name="labelcast", arguments=[*arguments], extra="producers")
    return CompletedProcess(arguments, status, stdout.getvalue(), stderr.getvalue())
