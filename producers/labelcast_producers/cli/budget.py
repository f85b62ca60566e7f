"""The command that computes how many bytes labels take."""

import json
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelcast.cli.panels import MAKE, add_command
from labelcast.errors import InvalidRequestError

if TYPE_CHECKING:
    from labelcast_producers.budget import Samples, Setting
    from labelcast_producers.budget.report import Entry

_IPC = 10


def budget(
    setting: Annotated[
        str | None,
        typer.Option(
            help="Setting to start from, which the other options change: sre2l, cda, rded, lpld-40,"
            " lpqld-40, lpqld-80, lpqld-200, or labelcast-N for N bytes per label. By default"
            " labelcast where --label is codes:M:K, else sre2l."
        ),
    ] = None,
    images_per_class: Annotated[
        int | None, typer.Option("--images-per-class", "--ipc", help="Samples per class.")
    ] = None,
    classes: Annotated[int | None, typer.Option(help="Number of classes (C).")] = None,
    sample_bytes: Annotated[
        str | None,
        typer.Option(
            help="Bytes of a stored sample, or HEIGHTxWIDTHxCHANNELSxBITS of raw pixels. By default"
            " 16000: a distilled JPEG of ImageNet."
        ),
    ] = None,
    views: Annotated[int | None, typer.Option(help="Augmented views per sample.")] = None,
    prune: Annotated[
        float | None,
        typer.Option(help="Pruning ratio: 40 stores one view in 40, as LPLD 40× does."),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            help="Form of a label: fp16, fp32, top-k:K, top-k:K:VALUE_BITS:INDEX_BITS, codes:M:K"
            " (whole bytes per label) or hard."
        ),
    ] = None,
    augmentation_bits: Annotated[
        int | None,
        typer.Option(
            help="Bits of augmentation data per view: 200 in SRe2L's files, 75 packed tightly, 0 to"
            " 32 where views are drawn from a seed."
        ),
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Labels per file or chunk.")] = None,
    container_bytes: Annotated[
        int | None, typer.Option(help="Bytes of container per batch: 2663 in SRe2L's files.")
    ] = None,
    block_bytes: Annotated[
        int | None,
        typer.Option(
            help="Bytes of a file system's block, to which files are rounded up: 4096 as du does,"
            " 1 for no rounding."
        ),
    ] = None,
    codec_bytes: Annotated[
        int | None, typer.Option(help="Bytes of codebooks and decoder, stored once.")
    ] = None,
    reference: Annotated[
        str, typer.Option(help="Setting to compare with, over the same samples.")
    ] = "sre2l",
    label_set: Annotated[
        Path | None,
        typer.Option(
            help="Directory of a label set to measure instead; takes no other option but --json."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Compute how many bytes labels take, beside their samples.

    Counts payload, augmentation, container and codec. With neither --setting nor --label: published
    settings at ImageNet-1K, with their published sizes, beside labelcast at 8, 4, 2 and 1 bytes per
    label. The formula is the storage analysis of the VQAE paper (arXiv 2603.03808).
    """
    about_samples = {
        "images_per_class": images_per_class,
        "classes": classes,
        "sample_bytes": sample_bytes,
    }
    about_labels = {
        "setting": setting,
        "views": views,
        "prune": prune,
        "label": label,
        "augmentation_bits": augmentation_bits,
        "batch": batch,
        "container_bytes": container_bytes,
        "block_bytes": block_bytes,
        "codec_bytes": codec_bytes,
    }
    chosen = {name: value for name, value in about_labels.items() if value is not None}
    shape = {name: value for name, value in about_samples.items() if value is not None}
    if label_set is not None:
        if chosen or shape:
            options = ", ".join("--" + name.replace("_", "-") for name in (chosen | shape))
            raise InvalidRequestError(
                f"--label-set measures a label set as it is: leave out {options}"
            )
        _print_measured(label_set, as_json)
    elif chosen:
        _print_one(chosen, shape, reference, as_json)
    else:
        _print_overview(shape, reference, as_json)


def _print_measured(directory: Path, as_json: bool) -> None:
    from labelcast_producers.budget import measure

    measured = measure(directory)
    if as_json:
        from labelcast_producers.budget.report import measured_as_json

        typer.echo(json.dumps({"label_set": measured_as_json(measured)}))
    else:
        from labelcast_producers.budget.tables import print_measured

        print_measured(measured)


def _print_one(
    chosen: dict[str, Any], shape: dict[str, Any], reference: str, as_json: bool
) -> None:
    from labelcast_producers.budget.report import entry_as_json

    entry = _entry(chosen, _samples(shape, _IPC), reference, plain=set(chosen) == {"setting"})
    if as_json:
        typer.echo(json.dumps({"settings": [entry_as_json(entry)]}))
    else:
        from labelcast_producers.budget.tables import print_entry

        print_entry(entry)


def _print_overview(shape: dict[str, Any], reference: str, as_json: bool) -> None:
    from labelcast_producers.budget import IPCS, NAMES
    from labelcast_producers.budget.published import OURS
    from labelcast_producers.budget.report import entry_as_json, reproduction_as_json

    names = [*NAMES, *(f"labelcast-{size}" for size in OURS)]
    groups = [
        [_entry({"setting": name}, _samples(shape, ipc), reference, plain=True) for name in names]
        for ipc in ((shape["images_per_class"],) if "images_per_class" in shape else IPCS)
    ]
    if as_json:
        entries = [entry_as_json(entry) for group in groups for entry in group]
        typer.echo(json.dumps({"settings": entries, "reproduction": reproduction_as_json()}))
    else:
        from labelcast_producers.budget.tables import print_overview

        print_overview(groups)


def _entry(chosen: dict[str, Any], samples: "Samples", reference: str, *, plain: bool) -> "Entry":
    from labelcast_producers.budget import IPCS, NAMES, published
    from labelcast_producers.budget.published import samples_of
    from labelcast_producers.budget.report import entry_of

    setting = _changed(chosen, samples)
    ipc = samples.images_per_class
    known = plain and setting.name in NAMES and ipc in IPCS and samples == samples_of(ipc)
    figure = published(setting.name, ipc) if known else None
    return entry_of(setting, _start(reference, samples), figure)


def _changed(chosen: dict[str, Any], samples: "Samples") -> "Setting":
    from labelcast_producers.budget import Codes, parse_form
    from labelcast_producers.budget.published import codec_bytes, ours_container

    form = parse_form(chosen["label"]) if "label" in chosen else None
    by_default = "labelcast-8" if isinstance(form, Codes) else "sre2l"
    start = chosen.get("setting", by_default)
    setting = _start(start, samples, chosen.get("views"))
    if chosen.keys() != {"setting"}:
        setting = replace(setting, name=f"{start} changed")
    if form is not None:
        # Codes need their decoder in any container; no other form needs one.
        decoder = codec_bytes(form, samples.classes) if isinstance(form, Codes) else 0
        setting = replace(setting, form=form, codec_bytes=decoder)
        if start.startswith("labelcast-"):
            tables = ours_container(form, samples.classes, setting.views)
            setting = replace(setting, container=tables)
    names = {"batch": "batch", "container_bytes": "bytes_a_batch", "block_bytes": "block_bytes"}
    box = replace(
        setting.container,
        **{field: chosen[name] for name, field in names.items() if name in chosen},
    )
    given: dict[str, Any] = {
        name: chosen[name]
        for name in ("views", "augmentation_bits", "codec_bytes")
        if name in chosen
    }
    if "prune" in chosen:
        if not math.isfinite(chosen["prune"]):
            raise InvalidRequestError(f"the pruning ratio must be a number, not {chosen['prune']}")
        given["pruning"] = Fraction(str(chosen["prune"]))
    return replace(setting, container=box, **given)


def _start(name: str, samples: "Samples", views: int | None = None) -> "Setting":
    from labelcast_producers.budget import ours, setting_of
    from labelcast_producers.budget.published import VIEWS

    size = name.removeprefix("labelcast-")
    if size != name and size.isascii() and size.isdigit() and len(size) <= 6:
        return ours(int(size), samples, VIEWS if views is None else views)
    return setting_of(name, samples)


def _samples(shape: dict[str, Any], images_per_class: int) -> "Samples":
    from labelcast_producers.budget import Samples
    from labelcast_producers.budget.published import CLASSES, SAMPLE_BYTES

    return Samples(
        classes=shape.get("classes", CLASSES),
        images_per_class=shape.get("images_per_class", images_per_class),
        bits_a_sample=_sample_bits(shape.get("sample_bytes", str(SAMPLE_BYTES))),
    )


def _sample_bits(text: str) -> int:
    words = text.split("x")
    if len(words) not in {1, 4} or not all(
        word.isascii() and word.isdigit() and len(word) <= 12 for word in words
    ):
        raise InvalidRequestError(
            f"{text!r} is no size of a sample: use bytes, or HEIGHTxWIDTHxCHANNELSxBITS"
        )
    return math.prod(map(int, words)) * (8 if len(words) == 1 else 1)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    add_command(
        app,
        budget,
        "labelcast budget",
        "labelcast budget --setting lpld-40 --images-per-class 50",
        "labelcast budget --label codes:8:256 --views 300",
        panel=MAKE,
    )
