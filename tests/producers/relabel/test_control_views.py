"""Control views from relabel to a label set: by default, and not where somebody says so."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from torch import Tensor

from labelcast.augmentation import AugmentationPolicy, Mix
from labelcast.cli.app import app
from labelcast.cli.run import exit_code_of
from labelcast.errors import LabelFileError
from labelcast.label_set.control_views import thumbnails
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.torch import SampleTable, ViewRenderer
from labelcast_producers.dense.labels import TABLES_NAME, DenseLabels
from labelcast_producers.encoding.add_stage import add_stage
from labelcast_producers.encoding.label_set_writer import write_label_set
from labelcast_producers.neural.chosen_encoder import choose_encoder
from labelcast_producers.relabel.relabeller import relabel
from tests.factories.pictures import Pictures
from tests.factories.relabelling import SmallTeacher

POLICY = AugmentationPolicy(view_height=6, view_width=6, crop_scale=(0.5, 1.0), mix=Mix.CUTMIX)


class Private(Pictures):
    """Says that nobody may see thumbnails of it."""

    control_views = False


def labelled(out: Path, dataset: Any = None, **options: Any) -> DenseLabels:
    table = SampleTable(Pictures(40) if dataset is None else dataset)
    relabel(
        SmallTeacher(),
        table,
        POLICY,
        seeds=3,
        out=out,
        teacher_name="small",
        device="cpu",
        **options,
    )
    return DenseLabels.open(out)


def encoded(dense: DenseLabels, out: Path, **options: Any) -> LabelSetDirectory:
    chosen = choose_encoder("raw:fp16", dense.description, temperature=1.0, device="cpu")
    return write_label_set(dense, chosen.encoder, out, **options)


def test_views_of_all_seeds_are_kept_as_the_teacher_saw_them(tmp_path: Path) -> None:
    table, images = SampleTable(Pictures(40)), labelled(tmp_path).control_images
    assert images is not None
    views, renderer = images.views, ViewRenderer(POLICY, table.sample_ids)
    assert 60 <= len(images) <= 64
    assert set(views.seeds.tolist()) == {0, 1, 2}
    assert len(np.unique(views.sample_ids)) > 25
    partners = table.images(renderer.partners(views).sample_ids)
    shown: Tensor = renderer.render(views, table.images(views.sample_ids), partners)
    steps = thumbnails(shown.numpy()) * 255
    assert np.abs(steps - images.steps).max() <= 0.51
    assert images.size == (6, 6)


def test_a_label_set_has_them_with_what_its_codes_decode_to(tmp_path: Path) -> None:
    label_set = encoded(labelled(tmp_path / "dense"), tmp_path / "set")
    control = label_set.control_views()
    assert control is not None
    labels = label_set.labels(control.views.sample_ids, control.views.seeds)
    np.testing.assert_array_equal(control.values, labels[:, : control.values.shape[1]])
    # Views of the base look as they did where a stage follows.
    staged = add_stage(None, label_set, tmp_path / "staged", name="first")
    assert staged.control_views() is not None


@pytest.mark.parametrize(
    ("dataset", "when_labelled", "when_encoded"),
    [
        (Private(40), {}, {}),
        (Pictures(40), {"control_views": False}, {}),
        (Pictures(40), {}, {"control_views": False}),
    ],
)
def test_who_says_so_gives_none(
    tmp_path: Path, dataset: Any, when_labelled: dict[str, Any], when_encoded: dict[str, Any]
) -> None:
    # An earlier run kept some.
    labelled(tmp_path / "dense")
    dense = labelled(tmp_path / "dense", dataset, fresh=True, **when_labelled)
    assert (dense.control_images is None) == (not when_encoded)
    label_set = encoded(dense, tmp_path / "set", **when_encoded)
    assert label_set.control_views() is None
    assert not label_set.manifest.has_control_views


def test_many_channels_are_of_fewer_views(tmp_path: Path) -> None:
    dataset = Pictures(40, channels=100)
    relabel(
        SmallTeacher(channels=100),
        SampleTable(dataset),
        None,
        seeds=1,
        out=tmp_path,
        teacher_name="small",
        device="cpu",
    )
    images = DenseLabels.open(tmp_path).control_images
    assert images is not None
    assert (len(images), images.steps.nbytes) == (20, 20 * 6400)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("control_steps", None),
        ("control_steps", lambda steps: steps[:, :, :4].copy()),
        ("control_ids", lambda ids: ids + np.uint64(1)),
        ("control_seeds", lambda seeds: seeds.astype(np.int64)),
        ("control_size_and_range", lambda values: values[:3].copy()),
    ],
)
def test_damaged_tables_are_refused(tmp_path: Path, name: str, change: Any) -> None:
    labelled(tmp_path)
    tables = safetensors.numpy.load_file(tmp_path / TABLES_NAME)
    table = tables.pop(name)
    if change is not None:
        tables[name] = change(table)
    safetensors.numpy.save_file(tables, tmp_path / TABLES_NAME)
    with pytest.raises(LabelFileError, match="tables of control views"):
        DenseLabels.open(tmp_path)


def test_the_commands_leave_them_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*command: str) -> str:
        assert exit_code_of(app, name="labelcast", arguments=list(command)) == 0
        return capsys.readouterr().out

    def made(name: str, *, relabel: list[str], encode: list[str]) -> str:
        dense, label_set = str(tmp_path / name / "dense"), str(tmp_path / name / "set")
        teacher = ["--teacher", "tests.factories.relabelling:SmallTeacher", "--seeds", "1"]
        images = ["--dataset", "tests.factories.pictures:Pictures", "--quiet", "--out", dense]
        run("relabel", *teacher, *images, *relabel)
        run("encode", "--labels", dense, "--codec", "raw:fp16", "--out", label_set, *encode)
        shown = run("info", label_set).splitlines()
        return next(line for line in shown if line.startswith("control views")).split("  ")[-1]

    off = ["--no-control-views"]
    assert made("with", relabel=[], encode=[]).strip() == (
        "thumbnails of a few samples' views, 8 × 8"
    )
    assert made("without", relabel=off, encode=[]).strip() == "none"
    assert made("encoded-without", relabel=[], encode=off).strip() == "none"
