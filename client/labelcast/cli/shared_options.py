"""Options that several commands have, written down once: how a service is checked."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from labelcast.network.tls import Tls

Command = Callable[..., None]

PlaintextOption = Annotated[
    bool,
    typer.Option(
        "--allow-plaintext",
        help="Send labels and token to another machine without TLS, in a network that you trust.",
    ),
]


def shared_options(parameter: str, choose: Callable[..., Any]) -> Callable[[Command], Command]:
    """A decorator that gives a command the options of another function.

    Args:
        parameter: the command's own parameter, which gets what `choose` returns.
        choose: takes the options, with typer's annotations.
    """
    options = inspect.signature(choose).parameters

    def decorate(command: Command) -> Command:
        whole = inspect.signature(command)
        own = [each for name, each in whole.parameters.items() if name != parameter]

        @functools.wraps(command)
        def run(**given: object) -> None:
            chosen = choose(**{name: given.pop(name) for name in options})
            command(**given, **{parameter: chosen})

        shown = [*own, *options.values()]
        # What typer reads a command's options from.
        run.__signature__ = whole.replace(parameters=shown)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in shown}
        return run

    return decorate


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


with_tls = shared_options("tls", _chosen)
"""Gives a command the options of TLS; its own parameter `tls` gets what they say, or None."""
