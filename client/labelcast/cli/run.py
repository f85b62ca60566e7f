"""From a typer application to an exit status; the service's command line uses it too.

    0   done
    1   a LabelcastError, or the operating system refused something
    2   the command line or the settings are wrong
    130 interrupted

Errors are one line on standard error. Only unforeseen ones show a traceback.
"""

import gc
import os
import sys
from typing import NoReturn

import typer
from typer.main import get_command

from labelcast.cli.extras import advice
from labelcast.cli.panels import PanelGroup
from labelcast.errors import LabelcastError

_INTERRUPTED = 130


def run(app: typer.Typer, *, name: str, extra: str | None = None) -> NoReturn:
    """Run an application and end the process.

    Args:
        app: made by `new_app`.
        name: program name.
        extra: extra of the distribution that brings what the commands import.
    """
    leave(exit_code_of(app, name=name, extra=extra))


def new_app(summary: str) -> typer.Typer:
    """Make an application that prints plainly and leaves errors to `run`.

    Args:
        summary: the program's help text.
    """
    return typer.Typer(
        help=summary,
        cls=PanelGroup,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )


def exit_code_of(
    app: typer.Typer,
    *,
    name: str,
    arguments: list[str] | None = None,
    extra: str | None = None,
) -> int:
    """Run an application and return its exit status.

    Args:
        app: made by `new_app`.
        name: program name.
        arguments: arguments to parse; None for those of the process.
        extra: extra of the distribution that brings what the commands import.
    """
    try:
        status = app(arguments, prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except LabelcastError as error:
        _tell(error.message)
        return int(getattr(error, "exit_code", 1))
    except BrokenPipeError:
        # The reader of our output has gone; Python must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        _tell(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return 1
    except ModuleNotFoundError as error:
        message = advice(error, extra)
        if message is None:
            raise
        _tell(message)
        return 1
    except (KeyboardInterrupt, typer.Abort):
        _tell("interrupted")
        return _INTERRUPTED
    except Exception as error:
        # Errors of usage have no public base class in every typer that we accept.
        wording = getattr(error, "format_message", None)
        if wording is None:
            raise
        words = sys.argv[1:] if arguments is None else arguments
        _tell(f"{wording()} (see {name}{_command_in(app, words)} --help)")
        return int(getattr(error, "exit_code", 2))
    if status == _INTERRUPTED:
        # Newer versions of typer turn Ctrl-C into a status themselves.
        _tell("interrupted")
    return status if isinstance(status, int) else 0


def leave(status: int) -> NoReturn:
    """End the process with an exit status; nothing may be left to clean up.

    One that torchrun has started ends at once: while the C++ libraries of torch were shut down,
    about one worker in thirty aborted ("terminate called without an active exception"), and
    torchrun then ended the others, which had finished their work.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if "WORLD_SIZE" in os.environ:
        os._exit(status)
    # Looking once more for cycles among torch's million objects takes half a second.
    gc.freeze()
    sys.exit(status)


def _command_in(app: typer.Typer, words: list[str]) -> str:
    """The command that is called, after a space; "" if there is none of that name."""
    # Not every error of usage knows where it came up.
    known = getattr(get_command(app), "commands", {})
    return f" {words[0]}" if words and words[0] in known else ""


def _tell(message: str) -> None:
    # The message may quote a service: what a terminal would obey is not printed.
    line = " ".join(message.split())
    plain = "".join(character if character.isprintable() else "?" for character in line)
    typer.echo(f"error: {plain}", err=True)
