"""Command that checks a machine: doctor."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from labelcast.cli.panels import add_command
from labelcast_server.cli.listening import with_certificate


@with_certificate
def doctor(
    data_dir: Annotated[
        Path | None, typer.Option(help="Data directory to check.", show_default=".labelcast")
    ] = None,
    redis_url: Annotated[str | None, typer.Option(help="URL of a Redis to check.")] = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST",
            help="Name or address by which clients reach the service, which its certificate must be"
            " for; by default the one that it listens on.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print findings as JSON.")] = False,
    *,
    certificate: dict[str, Any],
) -> None:
    """Check this machine or a Redis, and say how to repair it. Exit status 1 on any error."""
    from dataclasses import asdict

    from labelcast_server.access.certificates import Certificates
    from labelcast_server.doctor.diagnosis import diagnose
    from labelcast_server.settings import load_settings

    settings = load_settings(data_dir=data_dir, redis_url=redis_url, **certificate)
    findings = asyncio.run(
        diagnose(
            None if settings.redis_url is None else settings.redis_url.get_secret_value(),
            settings.data_dir,
            [port for port in (settings.grpc_port, settings.admin_port) if port],
            settings.decoder_devices,
            certificates=Certificates.of(settings),
            address=address or settings.published_host or settings.host,
            disk_reserve_bytes=settings.disk_reserve_bytes,
        )
    )
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings]))
    else:
        for finding in findings:
            typer.echo(f"{finding.level:<8}{finding.check:<22}{finding.message}")
            if finding.remedy is not None:
                typer.echo(f"{'':<30}→ {finding.remedy}")
    if any(finding.level == "error" for finding in findings):
        sys.exit(1)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    add_command(
        app,
        doctor,
        "labelcast-server doctor --data-dir /var/lib/labelcast",
        "labelcast-server doctor --tls-certificate service.pem \\\n"
        "    --tls-key service.key --address labels.example.org",
    )
