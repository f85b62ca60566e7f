"""Commands that run a single process of a service: worker, decoder, admin."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelcast.cli.panels import add_command
from labelcast_server.cli.listening import with_encryption

if TYPE_CHECKING:
    from labelcast_server.supervisor.roles import Role

Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
DataDir = Annotated[
    Path | None, typer.Option(help="Directory that the processes of one service share.")
]
RedisUrl = Annotated[
    str | None,
    typer.Option(
        help="URL of the Redis that the processes of one service share; set LABELCAST_REDIS_URL"
        " instead if it holds a password."
    ),
]
Decoders = Annotated[
    int | None,
    typer.Option(
        help="Number of decoders of the service; by default one for each device of LABELCAST_DEVICE"
        " or --device."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the address as JSON.")]


@with_encryption
def worker(
    host: Host = None,
    grpc_port: Annotated[
        int | None, typer.Option(help="Port for students; 0 picks a free one.")
    ] = None,
    data_dir: DataDir = None,
    redis_url: RedisUrl = None,
    decoders: Decoders = None,
    as_json: AsJson = False,
    *,
    encryption: dict[str, Any],
) -> None:
    """Run one I/O worker alone: gRPC for students, labels from the decoders beside it.

    For compose, Kubernetes or systemd, which restart it when it ends. `serve` runs all processes
    of a service.
    """
    from labelcast_server.supervisor import roles

    given = {
        "host": host,
        "grpc_port": grpc_port,
        "data_dir": data_dir,
        "redis_url": redis_url,
        "decoders": decoders,
    }
    _serve(roles.worker(0), as_json, given | encryption)


def decoder(
    data_dir: DataDir = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="Devices of all decoders of the service: auto, cpu, cuda, or several as in"
            " cuda:0,cuda:1."
        ),
    ] = None,
    decoders: Decoders = None,
    number: Annotated[int, typer.Option(min=0, help="Which of the decoders this one is.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Run one decoder alone: codes to labels, for the workers that share its data directory.

    Workers and decoders of one service are given the same number of decoders.
    """
    from labelcast_server.supervisor import roles

    given = {"data_dir": data_dir, "device": device, "decoders": decoders}
    _serve(roles.decoder(number), as_json, given)


@with_encryption
def admin(
    host: Host = None,
    admin_port: Annotated[
        int | None, typer.Option(help="Port of the admin API; 0 picks a free one.")
    ] = None,
    data_dir: DataDir = None,
    redis_url: RedisUrl = None,
    allow_unsafe_store: Annotated[
        bool | None, typer.Option(help="Accept a Redis that could forget labels.")
    ] = None,
    as_json: AsJson = False,
    *,
    encryption: dict[str, Any],
) -> None:
    """Run the admin API alone: REST for publishing label sets."""
    from labelcast_server.supervisor import roles

    given = {
        "host": host,
        "admin_port": admin_port,
        "data_dir": data_dir,
        "redis_url": redis_url,
        "allow_unsafe_store": allow_unsafe_store,
    }
    _serve(roles.ADMIN, as_json, given | encryption)


def _serve(role: "Role", as_json: bool, given: dict[str, Any]) -> None:
    from labelcast_server.settings import load_settings
    from labelcast_server.supervisor.one_process import serve_alone

    def announce(where: str) -> None:
        typer.echo(json.dumps({"address": where}) if as_json else f"{role.name}: {where}")

    serve_alone(role, load_settings(**given), announce)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    place = "--data-dir /var/lib/labelcast \\\n    --redis-url redis://127.0.0.1:6379/0"
    add_command(app, worker, f"labelcast-server worker {place}")
    add_command(app, decoder, "labelcast-server decoder --data-dir /var/lib/labelcast --device cpu")
    add_command(app, admin, f"labelcast-server admin {place}")
