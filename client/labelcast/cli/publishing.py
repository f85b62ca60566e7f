"""`labelcast push`, `tag`, `retire` and `list`."""

import sys
from collections.abc import Callable, Iterator
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
from labelcast.cli.printing import byte_text, print_columns, print_json
from labelcast.directory import Bundle


def add_to(app: typer.Typer) -> None:
    """Register the group's commands."""
    app.command()(push)
    app.command()(tag)
    app.command()(retire)
    app.command("list")(list_label_sets)


def push(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A label set.")],
    tag: Annotated[str, typer.Option(metavar="TAG", help="To point to it, like glyphs:v1.")],
    admin: AdminOption = DEFAULT_ADMIN_URL,
    token: TokenOption = None,
    token_file: TokenFileOption = None,
    timeout: TimeoutOption = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Upload a label set and publish it under a tag; run it again to go on after a failure."""
    bundle = Bundle(directory)
    with connect(admin, token, token_file, timeout) as registry, _progress_bar() as progress:
        result = registry.push(bundle, tag, progress=progress)
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


def tag(
    name: Annotated[str, typer.Argument(metavar="TAG", help="Like glyphs:v1.")],
    digest: Annotated[str, typer.Argument(metavar="DIGEST", help="The label set's digest.")],
    admin: AdminOption = DEFAULT_ADMIN_URL,
    token: TokenOption = None,
    token_file: TokenFileOption = None,
    timeout: TimeoutOption = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Point a tag to a label set that the service has."""
    with connect(admin, token, token_file, timeout) as registry:
        registry.tag(name, digest)
    if as_json:
        print_json({"tag": name, "digest": digest})
    else:
        typer.echo(f"{name} is {digest}")


def retire(
    reference: Annotated[str, typer.Argument(metavar="REF", help="Tag or digest.")],
    admin: AdminOption = DEFAULT_ADMIN_URL,
    token: TokenOption = None,
    token_file: TokenFileOption = None,
    timeout: TimeoutOption = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Take a label set away from its readers, with all its tags; its bytes stay."""
    with connect(admin, token, token_file, timeout) as registry:
        digest = registry.inspect(reference).summary.digest
        registry.retire(digest)
    if as_json:
        print_json({"digest": digest, "state": "retired"})
    else:
        typer.echo(f"{digest} is retired")


def list_label_sets(
    admin: AdminOption = DEFAULT_ADMIN_URL,
    token: TokenOption = None,
    token_file: TokenFileOption = None,
    timeout: TimeoutOption = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Every label set that the service has, oldest first."""
    with connect(admin, token, token_file, timeout) as registry:
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
def _progress_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, if somebody is there to see it."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(
        TextColumn("pushing"), *columns, console=Console(stderr=True), transient=True
    ) as bar:
        task = bar.add_task("push", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
