"""Commands to run a service and ask for its health."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from labelcast.cli.panels import add_command
from labelcast.cli.shared_options import with_tls
from labelcast.errors import ServiceUnavailableError
from labelcast.network.endpoint import host_and_port
from labelcast.network.proxies import grpc_proxy, is_loopback
from labelcast.network.tls import Tls
from labelcast_server.cli.listening import with_encryption

_HEALTH_SECONDS = 5.0


@with_encryption
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")
    ] = None,
    grpc_port: Annotated[
        int | None,
        typer.Option(help="Port for students; 0 picks a free one.", show_default="7070"),
    ] = None,
    admin_port: Annotated[
        int | None,
        typer.Option(help="Port of the admin API; 0 picks a free one.", show_default="7071"),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Directory of the embedded Redis, the admin token and the cache.",
            show_default=".labelcast",
        ),
    ] = None,
    redis_url: Annotated[
        str | None,
        typer.Option(
            help="URL of a Redis to use instead of the embedded one; set LABELCAST_REDIS_URL"
            " instead if it holds a password."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Number of I/O worker processes.", show_default="1")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="Devices that decode, a decoder process for each: auto, cpu, cuda, or several as"
            " in cuda:0,cuda:1.",
            show_default="auto",
        ),
    ] = None,
    decoders: Annotated[
        int | None,
        typer.Option(
            help="Number of decoder processes, which take the devices in turn; by default one for"
            " each device."
        ),
    ] = None,
    allow_unsafe_store: Annotated[
        bool | None,
        typer.Option(
            help="Accept a Redis that could forget labels: one that evicts, or keeps no"
            " append-only file."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the addresses as JSON.")] = False,
    *,
    encryption: dict[str, Any],
) -> None:
    """Run the service: gRPC for students, REST for admins, and a Redis unless one is given.

    Every option is also an environment variable: LABELCAST_GRPC_PORT, LABELCAST_REDIS_URL and so
    on. An option wins over its variable.
    """
    from labelcast_server.settings import load_settings
    from labelcast_server.supervisor.supervisor import Addresses
    from labelcast_server.supervisor.supervisor import serve as run_service

    given: dict[str, Any] = {
        "host": host,
        "grpc_port": grpc_port,
        "admin_port": admin_port,
        "data_dir": data_dir,
        "redis_url": redis_url,
        "workers": workers,
        "device": device,
        "decoders": decoders,
        "allow_unsafe_store": allow_unsafe_store,
    }
    settings = load_settings(**given, **encryption)

    def announce(addresses: Addresses) -> None:
        token_file = addresses.admin_token_file
        if as_json:
            found = {
                "grpc": addresses.grpc,
                "admin": addresses.admin,
                "admin_token_file": None if token_file is None else str(token_file),
            }
            typer.echo(json.dumps(found))
            return
        typer.echo(f"students: {addresses.grpc}\nadmins:   {addresses.admin}")
        if token_file is not None:
            typer.echo(f"token:    {token_file}")

    run_service(settings, announce)


@with_tls
def health(
    address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Address of the service's gRPC port.")
    ] = "127.0.0.1:7070",
    codes: Annotated[
        bool, typer.Option("--codes", help="Ask whether it serves codes, which need no decoder.")
    ] = False,
    *,
    tls: Tls | None,
) -> None:
    """Ask a service whether it can serve: exit status 0 if it can, 1 if not.

    One decoder that works is enough to serve. Of several, each is shown.

    Where LABELCAST_TLS_CERTIFICATE and LABELCAST_TLS_KEY are set, a service on this machine is
    asked over TLS with that certificate, unless an option says otherwise.
    """
    from labelcast_server.rpc.probe import CODES_SERVICE_NAME, is_serving, serving_decoders

    name = CODES_SERVICE_NAME if codes else ""
    tls = tls or _tls_of_own_service(address)
    serving = is_serving(address, timeout_seconds=_HEALTH_SECONDS, name=name, tls=tls)
    if serving is None:
        proxy = grpc_proxy(address)
        raise ServiceUnavailableError(
            f"no labelcast service answers at {address} within {_HEALTH_SECONDS:g} s; check the"
            " address, and that `labelcast-server serve` runs there"
            f"{'' if proxy is None else proxy.note}"
        )
    if not serving:
        what = "serving codes" if codes else "serving"
        raise ServiceUnavailableError(f"the service at {address} is not {what}")
    typer.echo("serving")
    decoders = [] if codes else serving_decoders(address, timeout_seconds=_HEALTH_SECONDS, tls=tls)
    if len(decoders) > 1:
        for number, decodes in enumerate(decoders):
            typer.echo(f"decoder-{number}: {'serving' if decodes else 'not serving'}")


def _tls_of_own_service(address: str) -> Tls | None:
    from labelcast_server.access.certificates import Certificates
    from labelcast_server.rpc.probe import own_tls
    from labelcast_server.settings import load_settings

    target = host_and_port(address)
    if target is None or not is_loopback(target[0]):
        return None
    found = Certificates.of(load_settings())
    return None if found is None else own_tls(found)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    add_command(
        app,
        serve,
        "labelcast-server serve --data-dir /var/lib/labelcast --workers 2",
        "labelcast-server serve --redis-url redis://127.0.0.1:6379/0",
    )
    add_command(app, health, "labelcast-server health --address 127.0.0.1:7070")
