"""The command that runs a teacher over views."""

import json
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelcast.cli.panels import MAKE, add_command
from labelcast.errors import InvalidRequestError
from labelcast_producers.cli.produce import (
    Device,
    FromProbabilities,
    Quiet,
    TeacherOutput,
    read_json,
)
from labelcast_producers.cli.progress_bar import progress_bar

if TYPE_CHECKING:
    from labelcast.torch.images.samples import SampleTable
    from labelcast_producers.relabel.recipes import Recipe


class Ids(StrEnum):
    """Where the sample IDs of --images come from."""

    POSITION = "position"
    NAME = "name"


class RecipeName(StrEnum):
    """Papers whose views can be made; the keys of `RECIPES`."""

    CDA = "cda"
    FKD = "fkd"
    LPLD = "lpld"
    RDED = "rded"
    SRE2L = "sre2l"


def relabel(
    teacher: Annotated[
        str | None,
        typer.Option(
            help="Import path of the teacher, package.module:name: a torch module or a function"
            " that returns one."
        ),
    ] = None,
    teacher_args: Annotated[
        str | None, typer.Option(help="Keyword arguments of the teacher, as a JSON object.")
    ] = None,
    teacher_name: Annotated[
        str | None, typer.Option(help="Name of the teacher to show; the import path by default.")
    ] = None,
    teacher_output: TeacherOutput = None,
    from_probabilities: FromProbabilities = False,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Import path of a map-style data set that has sample_ids and class_names."
        ),
    ] = None,
    dataset_args: Annotated[
        str | None, typer.Option(help="Keyword arguments of the data set, as a JSON object.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Directory with one directory of images per class, instead of --dataset. Pixels"
            " range from 0 to 1: the teacher normalises them itself."
        ),
    ] = None,
    image_list: Annotated[
        Path | None,
        typer.Option(help="File of paths below --images, one per line: their order gives the IDs."),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Pixels to resize the shorter side of --images to; the centre is kept."
        ),
    ] = None,
    channels: Annotated[
        int | None, typer.Option(help="Colour channels of --images: 3 (default), or 1 for grey.")
    ] = None,
    ids: Annotated[
        Ids | None,
        typer.Option(
            help="Sample IDs of --images: position in the sorted list (default), or name, a hash of"
            " the path, which other images never change."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Directory for the dense labels.")] = None,
    recipe: Annotated[RecipeName | None, typer.Option(help="Paper whose views to make.")] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            help="JSON file of an augmentation policy, instead of --recipe. With neither, samples"
            " are labelled as they are."
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            "--epochs",
            min=1,
            max=2**32 - 1,
            help="Augmented views per sample. A recipe has its own number, before it prunes.",
        ),
    ] = None,
    view_size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Pixels per side of the recipe's views; by default the images' size."
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Change the recipe: samples that share one mix.")
    ] = None,
    crop_scale: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="LOW HIGH", help="Change the recipe: share of the area that a crop covers."
        ),
    ] = None,
    flip: Annotated[
        float | None,
        typer.Option(
            help="Change the recipe: chance of a horizontal flip; 0 for letters and the like."
        ),
    ] = None,
    patch_grid: Annotated[
        int | None,
        typer.Option(help="Change the recipe: patches per side to shuffle, 1 to 4; 1 for none."),
    ] = None,
    prune: Annotated[
        float | None,
        typer.Option(help="Change the recipe: label only the first 1/PRUNE of all batches."),
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Print the recipe as JSON and exit.")
    ] = False,
    no_control_views: Annotated[
        bool,
        typer.Option(
            "--no-control-views",
            help="Keep no thumbnails (8 × 8) of a few views: students then compare none of theirs.",
        ),
    ] = False,
    batch_rows: Annotated[int, typer.Option(min=1, help="Views per forward pass.")] = 500,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Start over: discard what an unfinished run left in --out."),
    ] = False,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Run a teacher over every view and write its logits. Resumes if interrupted.

    With several processes: torchrun --nproc-per-node N -m labelcast.cli relabel …
    """
    changes = {
        "epochs": seeds,
        "batch_size": batch_size,
        "crop_scale": crop_scale,
        "flip": flip,
        "patch_grid": patch_grid,
        "prune": prune,
    }
    chosen = _recipe(recipe, policy, changes, view_size)
    if show:
        if chosen is None:
            raise InvalidRequestError("--show prints a recipe: name one with --recipe")
        typer.echo(json.dumps(chosen.as_json(), indent=2))
        return
    if teacher is None or out is None:
        raise typer.BadParameter(f"give {'--out' if teacher else '--teacher'}")
    if seeds is None and chosen is None:
        raise typer.BadParameter("give --seeds, or a --recipe that says how many")

    from labelcast.augmentation import AugmentationPolicy
    from labelcast_producers.fitting.parallel import joined_workers
    from labelcast_producers.relabel.import_path import load_object
    from labelcast_producers.relabel.relabeller import relabel as run

    drawn = None if policy is None else AugmentationPolicy.from_json(read_json(policy))
    of_images = {"image_list": image_list, "size": image_size, "channels": channels, "ids": ids}
    with joined_workers() as workers:
        network = load_object(teacher, teacher_args)
        table = _table(dataset, dataset_args, images, of_images)
        count, present = seeds or 0, None
        if chosen is not None:
            drawn = chosen.policy(*_view_size(table, view_size))
            kept = chosen.kept_views(len(table), key=drawn.key)
            count, present = kept.seeds, kept.present
        with progress_bar("relabel", "view", quiet=quiet or not workers.is_first) as progress:
            dense = run(
                network,
                table,
                drawn,
                seeds=count,
                present=present,
                recipe=chosen,
                out=out,
                teacher_name=teacher_name or teacher,
                device=device,
                batch_rows=batch_rows,
                progress=progress,
                fresh=fresh,
                workers=workers,
                output=teacher_output,
                from_probabilities=from_probabilities,
                control_views=not no_control_views,
            )
    if workers.is_first:
        typer.echo(f"{dense.rows.num_rows} labels of {dense.rows.num_classes} classes in {out}")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    add_command(
        app,
        relabel,
        "labelcast relabel --teacher mypkg.nets:teacher --dataset mypkg.data:train \\\n"
        "    --policy policy.json --seeds 300 --out dense/",
        "labelcast relabel --teacher mypkg.nets:teacher --images train/ \\\n"
        "    --recipe rded --out dense/",
        panel=MAKE,
    )


def _recipe(
    name: RecipeName | None, policy: Path | None, changes: dict[str, Any], view_size: int | None
) -> "Recipe | None":
    given = {field: value for field, value in changes.items() if value is not None}
    if name is None:
        own = sorted(given.keys() - {"epochs"} | ({"view_size"} if view_size else set()))
        if own:
            options = ", ".join("--" + field.replace("_", "-") for field in own)
            raise InvalidRequestError(f"{options} change a recipe: name one with --recipe")
        return None
    if policy is not None:
        raise InvalidRequestError("--recipe and --policy both say how views are made: give one")

    from labelcast_producers.relabel.recipes import RECIPES

    return replace(RECIPES[name], **given)


def _table(
    dataset: str | None,
    dataset_args: str | None,
    images: Path | None,
    of_images: dict[str, Any],
) -> "SampleTable":
    from labelcast.torch.images.image_folder import ImageFolder
    from labelcast.torch.images.samples import SampleTable
    from labelcast_producers.relabel.import_path import load_object

    given = {name: value for name, value in of_images.items() if value is not None}
    if (dataset is None) == (images is None):
        raise InvalidRequestError("give either --dataset or --images")
    if images is not None:
        return SampleTable(ImageFolder(images, **given))
    if given:
        raise InvalidRequestError(
            "--image-list, --image-size, --channels and --ids belong to --images"
        )
    return SampleTable(load_object(dataset or "", dataset_args))


def _view_size(table: "SampleTable", view_size: int | None) -> tuple[int, int]:
    if view_size is not None:
        return view_size, view_size
    height, width = table.dataset[0][0].shape[-2:]
    return int(height), int(width)
