"""`labelcast info`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from labelcast.cli.connection import (
    DEFAULT_ADMIN_URL,
    AdminOption,
    JsonOption,
    TimeoutOption,
    TokenFileOption,
    TokenOption,
    connect,
)
from labelcast.cli.description import describe, pairs_of
from labelcast.cli.panels import USE, add_command
from labelcast.cli.printing import byte_text, print_json, print_pairs
from labelcast.cli.shared_options import PlaintextOption, with_tls
from labelcast.errors import ManifestError
from labelcast.label_set import MAX_REPORT_BYTES, from_canonical
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.network.tls import Tls


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    add_command(
        app,
        info,
        "labelcast info mine:v1 --token-file admin.token",
        "labelcast info label-set/ --json",
        panel=USE,
    )


@with_tls
def info(
    reference: Annotated[
        str, typer.Argument(metavar="REF|DIR", help="Tag, digest or directory of a label set.")
    ],
    admin: AdminOption = DEFAULT_ADMIN_URL,
    token: TokenOption = None,
    token_file: TokenFileOption = None,
    timeout: TimeoutOption = 60.0,
    allow_plaintext: PlaintextOption = False,
    as_json: JsonOption = False,
    *,
    tls: Tls | None,
) -> None:
    """Show what a label set holds, what it costs and how well its codec fits."""
    if Path(reference).is_dir():
        described, pairs = _of_directory(Path(reference))
    else:
        with connect(
            admin, token, token_file, timeout, tls, allow_plaintext=allow_plaintext
        ) as registry:
            details = registry.inspect(reference)
        described = describe(details.manifest, details.codec_name, details.report)
        store_bytes = sum(details.store_bytes.values())
        described |= {
            "state": details.summary.state,
            "tags": list(details.summary.tags),
            "created_at": details.summary.created_at,
            "store_bytes": store_bytes,
        }
        pairs = [
            ("tags", ", ".join(details.summary.tags) or "-"),
            ("state", details.summary.state),
            ("memory of the store", byte_text(store_bytes)),
        ]
    if as_json:
        print_json(described)
    else:
        print_pairs([*pairs, *pairs_of(described)])


def _of_directory(directory: Path) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    label_set, report = LabelSetDirectory(directory), None
    if label_set.manifest.report is not None:
        content = label_set.read_blob(label_set.manifest.report)
        report = from_canonical(content, "the fit report", max_bytes=MAX_REPORT_BYTES)
        if not isinstance(report, dict):
            raise ManifestError("the fit report must be a JSON object")
    return describe(label_set.manifest, label_set.codec().name, report), []
