"""The command that runs a language model over text."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labelcast.cli.panels import MAKE, add_command
from labelcast.cli.printing import bytes_of
from labelcast.errors import InvalidRequestError
from labelcast_producers.cli.produce import AsJson, Device, Quiet, require_positive
from labelcast_producers.cli.progress_bar import progress_bar
from labelcast_producers.relabel.language.text.documents import DocumentPer

if TYPE_CHECKING:
    from labelcast_producers.relabel.language.relabeller import RelabelledText

# Files without text that are named.
_SHOWN = 5


def relabel_text(
    model: Annotated[
        str,
        typer.Option(
            help="Causal language model: a directory in the layout of transformers, with"
            " safetensors; a .gguf file; or package.module:name, a torch module or a function that"
            " returns one. Nothing is downloaded."
        ),
    ],
    text: Annotated[
        list[Path],
        typer.Option(
            help="File or directory of UTF-8 text; or one file of token IDs: .npy, .npz, .parquet."
            " Repeat for more text. The order of documents numbers the samples."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Directory for the label set.")],
    codec: Annotated[
        str,
        typer.Option(
            help="What is kept of a prediction: hidden:int8, hidden:fp16 or hidden:fp32 states;"
            " topk:K or topk:BYTESB, with :spread, :renormalise, :lumped or :zero for the other"
            " tokens; sampled:SLOTS."
        ),
    ] = "hidden:int8",
    model_args: Annotated[
        str | None, typer.Option(help="Keyword arguments of such a function, as a JSON object.")
    ] = None,
    model_name: Annotated[
        str | None, typer.Option(help="Name of the model to show; by default that of its files.")
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="Directory or .gguf file of the tokenizer; by default the model's."),
    ] = None,
    document_per: Annotated[
        DocumentPer, typer.Option(help="What one document of the text is.")
    ] = DocumentPer.FILE,
    pattern: Annotated[str, typer.Option(help="Which files of a directory are text.")] = "*.txt",
    max_length: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Most tokens of a sequence; longer documents are cut. By default 1,024, or the"
            " model's positions if they are fewer.",
        ),
    ] = None,
    batch_tokens: Annotated[int, typer.Option(min=1, help="Tokens per forward pass.")] = 4096,
    temperature: Annotated[
        float, typer.Option(help="Softmax temperature of topk and sampled.")
    ] = 1.0,
    dtype: Annotated[
        str, typer.Option(help="Type to compute in, or auto: as the weights are stored.")
    ] = "auto",
    padding: Annotated[
        int | None,
        typer.Option(min=0, help="Columns of the model's logits that no token has."),
    ] = None,
    own_logits: Annotated[
        bool,
        typer.Option(
            "--own-logits",
            help="Take the model's logits, all of a batch at once: for models that change them"
            " after their head. Not with hidden.",
        ),
    ] = False,
    no_head: Annotated[
        bool,
        typer.Option(
            "--no-head", help="Name the head by its digest, for students that have the teacher."
        ),
    ] = False,
    keep_tokens: Annotated[
        bool,
        typer.Option(
            "--keep-tokens",
            help="Store the tokens beside the label set: whoever gets them can read the text.",
        ),
    ] = False,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Start over: discard what an unfinished run left in --out."),
    ] = False,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run a language model over text and write its predictions. Resumes if interrupted.

    With several processes: torchrun --nproc-per-node N -m labelcast.cli
    relabel-text …
    """
    require_positive("--temperature", temperature)

    from dataclasses import replace

    from labelcast_producers.fitting.parallel import joined_workers
    from labelcast_producers.relabel.language.relabeller import relabel_text as run
    from labelcast_producers.relabel.language.teachers.model import load_model
    from labelcast_producers.relabel.language.text.read_text import read_sequences
    from labelcast_producers.relabel.language.text.tokenizer import (
        load_tokenizer,
        refuse_other_tokens,
    )

    if tokenizer is None and not Path(model).exists():
        raise InvalidRequestError(
            f"nothing says what the tokens of {model} are; give its tokenizer with --tokenizer"
        )
    with joined_workers() as workers:
        loaded = load_model(model, arguments=model_args, dtype=dtype)
        loaded = replace(loaded, name=model_name or loaded.name)
        tokens = load_tokenizer(Path(model) if tokenizer is None else tokenizer)
        if tokenizer is not None:
            refuse_other_tokens(tokens, Path(model))
        longest = min(1024, loaded.positions or 1024) if max_length is None else max_length
        sequences = read_sequences(text, tokens, longest, per=document_per, pattern=pattern)
        if workers.is_first:
            _tell_left_out(sequences.without_text)
        with progress_bar("relabel", "token", quiet=quiet or not workers.is_first) as progress:
            done = run(
                loaded,
                sequences,
                tokens,
                codec=codec,
                out=out,
                temperature=temperature,
                batch_tokens=batch_tokens,
                own_logits=own_logits,
                padding=padding,
                ship_head=not no_head,
                keep_tokens=keep_tokens,
                device=device,
                fresh=fresh,
                progress=progress,
                workers=workers,
            )
    if workers.is_first:
        _print(done, as_json)


def _tell_left_out(files: Sequence[Path]) -> None:
    for file in files[:_SHOWN]:
        typer.echo(f"note: {file} holds no text and is left out", err=True)
    if len(files) > _SHOWN:
        typer.echo(f"note: so are {len(files) - _SHOWN} more files", err=True)


def _print(done: "RelabelledText", as_json: bool) -> None:
    manifest, figure = done.label_set.manifest, done.next_token
    stride = done.label_set.codec().row_stride
    if as_json:
        value = {"digest": manifest.digest, "bytes_per_label": stride, "padding": done.padding}
        typer.echo(json.dumps(value | {"next_token": figure.as_json()}))
        return
    if done.is_no_better_than_chance:
        typer.echo(
            "note: the model calls the text's own next token no likelier than a guess would; is"
            " this the model's tokenizer, and a text of its language?",
            err=True,
        )
    if done.padding:
        typer.echo(f"note: {done.padding} columns of the logits have no token", err=True)
    typer.echo(
        f"{manifest.digest}\n{manifest.num_labels} labels of {bytes_of(stride)} in"
        f" {done.label_set.directory}; the next token has a log-probability of"
        f" {figure.mean:.3f} ± {figure.deviation:.3f} nats"
    )


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    add_command(
        app,
        relabel_text,
        "labelcast relabel-text --model smollm2/ --text corpus/ --out label-set/",
        "labelcast relabel-text --model model.gguf --text notes.txt \\\n"
        "    --document-per line --codec topk:32 --out label-set/",
        name="relabel-text",
        panel=MAKE,
    )
