"""`labelcast pull` and `decode`: label sets on this machine, without a service."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from labelcast.cli.connection import JsonOption, TokenFileOption, TokenOption, chosen_token
from labelcast.cli.panels import USE, add_command
from labelcast.cli.printing import byte_text, print_json
from labelcast.cli.shared_options import PlaintextOption, with_tls
from labelcast.codec import LabelKind, Labels
from labelcast.errors import InvalidRequestError, LabelValueError
from labelcast.files import whole_file
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.network.tls import Tls
from labelcast.views import Views

if TYPE_CHECKING:
    from rich.progress import Progress

_BLOCK_ROWS = 4096


def add_to(app: typer.Typer) -> None:
    """Register the group's commands."""
    add_command(
        app,
        pull,
        "labelcast pull mine:v1 --address labels.example.org:7070 --tls --out local/",
        panel=USE,
    )
    add_command(
        app,
        decode,
        "labelcast decode local/ --out labels.npy --temperature 4.0",
        "labelcast decode local/ --out labels.npy --seed 0 --seed 1",
        panel=USE,
    )


@with_tls
def pull(
    reference: Annotated[str, typer.Argument(metavar="REF", help="Tag or digest of a label set.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory for the label set.")],
    address: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="Address of the service's gRPC port; several servers with commas between.",
        ),
    ] = "127.0.0.1:7070",
    token: TokenOption = None,
    token_file: TokenFileOption = None,
    allow_plaintext: PlaintextOption = False,
    as_json: JsonOption = False,
    *,
    tls: Tls | None,
) -> None:
    """Fetch a whole label set. Resumes if interrupted."""
    from labelcast.remote.client import LabelClient
    from labelcast.remote.pulling import pull as pull_label_set

    asking = LabelClient(
        address,
        token=chosen_token(token, token_file),
        tls=tls or False,
        allow_plaintext=allow_plaintext,
    )
    with asking as client, _progress() as bar:

        def show(done: int, total: int, /) -> None:
            task = bar.task_ids[0] if bar.task_ids else bar.add_task("pull")
            bar.update(task, completed=done, total=total)

        label_set = pull_label_set(client, reference, out, progress=show)
        received = client.wire_bytes.received
    if as_json:
        print_json({"digest": label_set.digest, "received_bytes": received})
    else:
        labels = label_set.manifest.num_labels
        typer.echo(f"{label_set.digest}\n{labels} labels in {byte_text(received)} in {out}")


def decode(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory of a label set.")],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="File to write: .npy, shape (views, classes).")
    ],
    seed: Annotated[
        list[int] | None,
        typer.Option(help="Augmentation seed to decode; repeat it for several. All by default."),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(help="Softmax temperature: writes probabilities instead of logits."),
    ] = None,
) -> None:
    """Decode a label set to fp16 with numpy alone.

    Rows come in the order of the label set. Beside labels.npy, labels.views.npy says which view
    each row belongs to: it has the columns sample_id and seed.
    """
    label_set = LabelSetDirectory(directory)
    decoder = label_set.decoder()
    header = decoder.codec.header
    kind = header.label_kind
    if temperature is not None:
        label_set.manifest.contract.require_temperature(temperature)
    views = _chosen_views([segment.views() for segment in label_set.index().segments], seed)
    shape = (len(views), header.num_classes)
    with whole_file(out) as partial, _progress() as progress:
        labels = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float16, shape=shape)
        for start in progress.track(range(0, len(views), _BLOCK_ROWS), description="decode"):
            block = slice(start, start + _BLOCK_ROWS)
            decoded = decoder.decode(label_set.gather(views[block]), views[block])
            if temperature is not None and kind is LabelKind.LOGITS:
                decoded = _softmax(decoded / np.float32(temperature))
            labels[block] = _half(decoded)
        labels.flush()
        columns = np.empty(len(views), dtype=[("sample_id", "<u8"), ("seed", "<u4")])
        columns["sample_id"], columns["seed"] = views.sample_ids, views.seeds
        np.save(out.with_suffix(".views.npy"), columns)
    form = "probabilities" if temperature is not None or kind is LabelKind.PROBABILITIES else kind
    typer.echo(f"{len(views)} labels of {shape[1]} classes as fp16 {form} in {out}")


def _chosen_views(segments: list[Views], seeds: list[int] | None) -> Views:
    views = Views(
        np.concatenate([part.sample_ids for part in segments]),
        np.concatenate([part.seeds for part in segments]),
    )
    if seeds is None:
        return views
    chosen = np.isin(views.seeds, seeds)
    if not chosen.any():
        raise InvalidRequestError(f"the label set has none of the seeds {seeds}")
    return views[np.flatnonzero(chosen)]


def _half(labels: Labels) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        half = labels.astype(np.float16)
    if not np.isfinite(half).all():
        raise LabelValueError(
            "a logit lies beyond what fp16 holds, 65,504; write probabilities with --temperature,"
            " or read fp32 in Python: labelcast.open(directory).labels(sample_ids, seeds)"
        )
    return half


def _softmax(values: Labels) -> Labels:
    exponentials = np.exp(values - values.max(axis=1, keepdims=True))
    probabilities: Labels = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def _progress() -> "Progress":
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True), transient=False, disable=not sys.stderr.isatty())
