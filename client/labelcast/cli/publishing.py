"""`labelcast push`, `tag` and `retire`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
from labelcast.cli.printing import byte_text, print_json
from labelcast.directory import Bundle
from labelcast.progress import Progress, unwatched


def add_to(app: typer.Typer) -> None:
    """Register the group's commands."""
    app.command()(push)
    app.command()(tag)
    app.command()(retire)


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


@contextmanager
def _progress_bar() -> Iterator[Progress]:
    """A bar on standard error, if somebody is there to see it."""
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
