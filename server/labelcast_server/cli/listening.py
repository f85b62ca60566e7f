"""Options of commands that listen: TLS, or plain text on purpose."""

from pathlib import Path
from typing import Annotated, Any

import typer

from labelcast.cli.shared_options import shared_options

_TlsCertificate = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="PEM file of the certificate to show, with its intermediates; turns TLS on. Files are"
        " read again when they change.",
    ),
]
_TlsKey = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="PEM file of the certificate's private key."),
]
_TlsClientCa = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="PEM file of the authorities whose certificates clients must show (mutual TLS).",
    ),
]
_AllowPlaintext = Annotated[
    bool | None,
    typer.Option(
        "--allow-plaintext",
        help="Listen without TLS where other machines connect; for networks that you trust.",
    ),
]


def _shown(
    tls_certificate: _TlsCertificate = None,
    tls_key: _TlsKey = None,
    tls_client_ca: _TlsClientCa = None,
) -> dict[str, Any]:
    return {
        "tls_certificate": tls_certificate,
        "tls_key": tls_key,
        "tls_client_ca": tls_client_ca,
    }


def _encryption(
    tls_certificate: _TlsCertificate = None,
    tls_key: _TlsKey = None,
    tls_client_ca: _TlsClientCa = None,
    allow_plaintext: _AllowPlaintext = None,
) -> dict[str, Any]:
    shown = _shown(tls_certificate, tls_key, tls_client_ca)
    return shown | {"allow_plaintext": allow_plaintext}


with_certificate = shared_options("certificate", _shown)
"""Gives a command the files of a service's certificate: settings, in its `certificate`."""

with_encryption = shared_options("encryption", _encryption)
"""Gives a command these, and leave to do without: settings, in its parameter `encryption`."""
