"""Options that say where the service is and who is asking."""

import os
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labelcast.network.tls import Tls

if TYPE_CHECKING:
    from labelcast.registry.client import Registry

DEFAULT_ADMIN_URL = "http://127.0.0.1:7071"
TOKEN_VARIABLE = "LABELCAST_TOKEN"  # noqa: S105 - a variable's name


def _a_number(seconds: float) -> float:
    # A range lets NaN pass, which is on no side of any bound.
    if isnan(seconds):
        raise typer.BadParameter("must be a number, not nan.")
    return seconds


AdminOption = Annotated[
    str, typer.Option("--admin", metavar="URL", help="URL of the service's admin API.")
]
TokenOption = Annotated[
    str | None,
    typer.Option(
        metavar="TOKEN",
        help="Token of the service. Every user of this machine can see it here: prefer"
        f" --token-file or {TOKEN_VARIABLE}.",
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="File that holds the token, such as admin.token."),
]
TimeoutOption = Annotated[
    float,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        min=0.1,
        max=86_400,
        callback=_a_number,
        help="Seconds to wait for each response.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def connect(
    admin: str,
    token: str | None,
    token_file: Path | None,
    timeout: float,
    tls: Tls | None,
    *,
    allow_plaintext: bool,
) -> "Registry":
    """Registry of a service.

    Args:
        admin: URL of the admin API.
        token: token given on the command line.
        token_file: file with the token; read if there is no `token`.
        timeout: seconds to wait for each response.
        tls: how a service at https:// is checked.
        allow_plaintext: whether http:// may lead to another machine.

    Raises:
        InvalidRequestError: an impossible URL or token, or plain text that is not allowed.
        OSError: the file cannot be read.
    """
    from labelcast.registry.client import Registry

    return Registry(
        admin,
        chosen_token(token, token_file),
        timeout_seconds=timeout,
        tls=tls,
        allow_plaintext=allow_plaintext,
    )


def chosen_token(token: str | None, token_file: Path | None) -> str | None:
    """The token to use: the command line's, else the file's, else the environment's.

    Args:
        token: token given on the command line.
        token_file: file with the token; read if there is no `token`.

    Raises:
        OSError: the file cannot be read.
    """
    if token is None and token_file is not None:
        token = token_file.read_text(encoding="utf-8", errors="replace").strip()
    if token is None:
        token = os.environ.get(TOKEN_VARIABLE) or None
    return token
