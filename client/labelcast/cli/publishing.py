"""`labelcast push`, `tag`, `retire` and `list`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

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
from labelcast.cli.panels import PUBLISH, add_command
from labelcast.cli.printing import byte_text, print_columns, print_json
from labelcast.cli.shared_options import PlaintextOption, with_tls
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.network.tls import Tls
from labelcast.progress import Progress, unwatched


def add_to(app: typer.Typer) -> None:
    """Register the group's commands."""
    asking = "--token-file admin.token"
    add_command(app, push, f"labelcast push label-set/ --tag mine:v1 {asking}", panel=PUBLISH)
    add_command(app, tag, f"labelcast tag mine:latest sha256:2b51…942d {asking}", panel=PUBLISH)
    add_command(app, retire, f"labelcast retire mine:v1 {asking}", panel=PUBLISH)
    add_command(app, list_label_sets, f"labelcast list {asking}", name="list", panel=PUBLISH)


@with_tls
def push(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory of a label set.")],
    tag: Annotated[
        str, typer.Option(metavar="TAG", help="Tag to publish under, for example glyphs:v1.")
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
    """Upload a label set and publish it under a tag. Resumes if interrupted."""
    label_set = LabelSetDirectory(directory)
    with (
        connect(
            admin, token, token_file, timeout, tls, allow_plaintext=allow_plaintext
        ) as registry,
        _progress_bar() as progress,
    ):
        result = registry.push(label_set, tag, progress=progress)
    if as_json:
        print_json(
            {
                "digest": result.digest,
                "tag": result.tag,
                "uploaded_blobs": result.uploaded_blobs,
                "uploaded_bytes": result.uploaded_bytes,
                "known_blobs": result.known_blobs,
            }
        )
        return
    typer.echo(f"{result.tag} is {result.digest}")
    typer.echo(
        f"uploaded {result.uploaded_blobs} blobs, {byte_text(result.uploaded_bytes)};"
        f" {result.known_blobs} were there already"
    )


@with_tls
def tag(
    name: Annotated[str, typer.Argument(metavar="TAG", help="Tag, for example glyphs:v1.")],
    digest: Annotated[str, typer.Argument(metavar="DIGEST", help="Digest of the label set.")],
    admin: AdminOption = DEFAULT_ADMIN_URL,
    token: TokenOption = None,
    token_file: TokenFileOption = None,
    timeout: TimeoutOption = 60.0,
    allow_plaintext: PlaintextOption = False,
    as_json: JsonOption = False,
    *,
    tls: Tls | None,
) -> None:
    """Point a tag to a label set that the service already has."""
    with connect(
        admin, token, token_file, timeout, tls, allow_plaintext=allow_plaintext
    ) as registry:
        registry.tag(name, digest)
    if as_json:
        print_json({"tag": name, "digest": digest})
    else:
        typer.echo(f"{name} is {digest}")


@with_tls
def retire(
    reference: Annotated[str, typer.Argument(metavar="REF", help="Tag or digest of a label set.")],
    admin: AdminOption = DEFAULT_ADMIN_URL,
    token: TokenOption = None,
    token_file: TokenFileOption = None,
    timeout: TimeoutOption = 60.0,
    allow_plaintext: PlaintextOption = False,
    as_json: JsonOption = False,
    *,
    tls: Tls | None,
) -> None:
    """Withdraw a label set and its tags from readers. Its bytes stay in the store."""
    with connect(
        admin, token, token_file, timeout, tls, allow_plaintext=allow_plaintext
    ) as registry:
        digest = registry.inspect(reference).summary.digest
        registry.retire(digest)
    if as_json:
        print_json({"digest": digest, "state": "retired"})
    else:
        typer.echo(f"{digest} is retired")


@with_tls
def list_label_sets(
    admin: AdminOption = DEFAULT_ADMIN_URL,
    token: TokenOption = None,
    token_file: TokenFileOption = None,
    timeout: TimeoutOption = 60.0,
    allow_plaintext: PlaintextOption = False,
    as_json: JsonOption = False,
    *,
    tls: Tls | None,
) -> None:
    """List the label sets that the service has, oldest first."""
    with connect(
        admin, token, token_file, timeout, tls, allow_plaintext=allow_plaintext
    ) as registry:
        found = registry.list()
    if as_json:
        print_json([asdict(summary) for summary in found])
        return
    rows = [
        (
            ", ".join(summary.tags) or "-",
            summary.state,
            f"{summary.labels:,}",
            f"{summary.num_classes:,}",
            byte_text(summary.payload_bytes),
            summary.teacher_name,
            summary.digest,
        )
        for summary in found
    ]
    print_columns(("TAGS", "STATE", "LABELS", "CLASSES", "PAYLOAD", "TEACHER", "DIGEST"), rows)


@contextmanager
def _progress_bar() -> Iterator[Progress]:
    """A bar on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        yield unwatched
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bar

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Bar(TextColumn("pushing"), *columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("push", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
