"""The wrapper of both command lines: what a command raises → one line and an exit status."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from labelcast.cli.run import exit_code_of, new_app
from labelcast.errors import LabelcastError, StoreFullError


def status_of(error: BaseException) -> int:
    app = new_app("A program.")

    @app.command()
    def fail() -> None:
        raise error

    return exit_code_of(app, name="program", arguments=[])


class WrongSettingsError(LabelcastError):
    reason = "wrong_settings"
    exit_code = 2


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (StoreFullError("full;\n buy  memory"), 1, "full; buy memory"),
        (LabelcastError("\x1b[2Jred\x07 \ud800"), 1, "?[2Jred? ?"),
        (WrongSettingsError("no such variable"), 2, "no such variable"),
        (FileNotFoundError(2, "No such file or directory", "a.json"), 1, "a.json: No such file"),
        (OSError("odd"), 1, "odd"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (typer.Abort(), 130, "interrupted"),
        (typer.BadParameter("a reason"), 2, "a reason (see program --help)"),
    ],
)
def test_errors_are_one_line(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(error) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert line in printed.err
    assert printed.err.count("\n") == 1
    assert "\x1b" not in printed.err


def test_an_exit_status_of_the_command_s_own() -> None:
    assert status_of(typer.Exit(7)) == 7
    assert status_of(typer.Exit()) == 0


def test_what_nobody_foresaw_shows_itself() -> None:
    with pytest.raises(ZeroDivisionError):
        status_of(ZeroDivisionError())


@pytest.mark.parametrize("extra", [None, "producers"])
def test_a_module_of_the_user_s_that_is_missing_shows_itself(extra: str | None) -> None:
    app = new_app("A program.")

    @app.command()
    def fail() -> None:
        raise ModuleNotFoundError("No module named 'mypkg'", name="mypkg.nets")

    with pytest.raises(ModuleNotFoundError):
        exit_code_of(app, name="program", arguments=[], extra=extra)


def test_success_is_0(capsys: pytest.CaptureFixture[str]) -> None:
    app = new_app("A program.")
    app.command()(lambda: typer.echo("done"))
    assert exit_code_of(app, name="program", arguments=[]) == 0
    assert capsys.readouterr() == ("done\n", "")


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    code = (
        "import typer\n"
        "from labelcast.cli.run import new_app, run\n"
        "app = new_app('x')\n"
        "app.command()(lambda: [typer.echo('x' * 1000) for _ in range(1000)])\n"
        "run(app, name='program')\n"
    )
    read_end, write_end = os.pipe()
    os.close(read_end)
    with (tmp_path / "errors").open("wb") as errors:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=write_end, stderr=errors)
        os.close(write_end)
        assert process.wait() == 1
    assert (tmp_path / "errors").read_text() == ""
