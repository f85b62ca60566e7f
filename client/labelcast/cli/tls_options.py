"""Options that say how a service is checked; `labelcast-server health` has them too."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from labelcast.network.tls import Tls

PlaintextOption = Annotated[
    bool,
    typer.Option(
        "--allow-plaintext",
        help="Send labels and token to another machine without TLS, in a network that you trust.",
    ),
]


def with_tls(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of TLS; its own parameter `tls` gets what they say, or None."""
    whole, options = inspect.signature(command), inspect.signature(_chosen).parameters
    own = [each for name, each in whole.parameters.items() if name != "tls"]

    @functools.wraps(command)
    def run(**given: object) -> None:
        chosen = {name: given.pop(name) for name in options}
        command(**given, tls=_chosen(**chosen))  # type: ignore[arg-type]

    shown = [*own, *options.values()]
    # What typer reads a command's options from.
    run.__signature__ = whole.replace(parameters=shown)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in shown}
    return run


def _chosen(
    use_tls: Annotated[
        bool,
        typer.Option("--tls", help="Use TLS, and trust the authorities of the operating system."),
    ] = False,
    tls_ca: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="PEM file of the authorities that the service's certificate may come from.",
        ),
    ] = None,
    tls_certificate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="PEM file of your certificate, if the service asks for one."
        ),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM file of your certificate's key.")
    ] = None,
    tls_server_name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Name that the service's certificate must be for, if not the address's.",
        ),
    ] = None,
) -> Tls | None:
    named = (tls_ca, tls_certificate, tls_key, tls_server_name)
    if not use_tls and all(each is None for each in named):
        return None
    return Tls(*named)
