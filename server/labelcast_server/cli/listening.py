"""Options of commands that listen: TLS, or plain text on purpose."""

from pathlib import Path
from typing import Annotated

import typer

TlsCertificate = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="PEM file of the certificate to show, with its intermediates; turns TLS on. Files are"
        " read again when they change.",
    ),
]
TlsKey = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="PEM file of the certificate's private key."),
]
TlsClientCa = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="PEM file of the authorities whose certificates clients must show (mutual TLS).",
    ),
]
AllowPlaintext = Annotated[
    bool | None,
    typer.Option(
        "--allow-plaintext",
        help="Listen without TLS where other machines connect; for networks that you trust.",
    ),
]
