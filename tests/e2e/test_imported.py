"""Foreign files, from the producer's writer to a student: every label and every replayed view.

Each case writes real files, imports them with the command, pushes the label set, and compares what
a client gets with what was written; pixels are compared with those of the producers' own loader.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from labelcast import LabelKind, Precision, RemoteLabelSet, Representation, Views
from labelcast.augmentation import UnrenderedPolicy
from labelcast.codec.topk import Recovery
from labelcast.errors import InvalidRequestError
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.torch import ImageFolder, RecordedRenderer, SampleTable, choose_renderer
from labelcast_producers.formats.importing import Import
from labelcast_producers.formats.source import ImportOptions
from tests.e2e.running_service import RunningService
from tests.factories.command import run_labelcast
from tests.producers.formats.writers.apple_dr import write_apple_dr
from tests.producers.formats.writers.arrays import write_arrays
from tests.producers.formats.writers.distilled_sets import write_frepo, write_mtt, write_pdd
from tests.producers.formats.writers.distillkit import Settings, write_distillkit
from tests.producers.formats.writers.edc import write_edc
from tests.producers.formats.writers.fkd import write_fkd
from tests.producers.formats.writers.gvbsm import write_gvbsm
from tests.producers.formats.writers.hald import write_hald
from tests.producers.formats.writers.lpld import write_lpld
from tests.producers.formats.writers.lpqld import write_lpqld
from tests.producers.formats.writers.producer_pixels import (
    folder_sizes,
    render_view,
    write_image_folder,
)
from tests.producers.formats.writers.sre2l import write_sre2l
from tests.producers.formats.writers.tinyvit import write_tinyvit
from tests.producers.formats.writers.truth import Truth
from tests.producers.formats.writers.views import image_names

pytestmark = pytest.mark.e2e

SAMPLES, CLASSES, VIEW = 24, 6, 32
# Half a step of 8 bits from rounding in Pillow's resize, twice where two views are blended.
PIXEL_TOLERANCE = 1.2 / 255


@dataclass(frozen=True)
class Case:
    """One producer.

    Attributes:
        write: the writer.
        arguments: of it, beside samples, classes, sizes and view.
        options: of the import.
        flat: the files name no epochs.
        half: crops are kept in half precision.
    """

    write: Callable[..., Truth]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    options: Sequence[str] = ()
    flat: bool = False
    half: bool = False


BATCHES: dict[str, Any] = {"epochs": 3, "batch_size": 8}
CASES = {
    "sre2l": Case(write_sre2l, BATCHES),
    "sre2l-old": Case(write_sre2l, BATCHES | {"order": "old"}, ("--draws", "one")),
    "sre2l-mixup": Case(write_sre2l, BATCHES | {"mix": "mixup", "dtype": torch.float32}),
    "sre2l-plain": Case(write_sre2l, BATCHES | {"mix": "none"}),
    "lpld": Case(write_lpld, {"epochs": 2.5, "batch_size": 7}),
    "lpqld": Case(write_lpqld, {"epochs": 2.5, "batch_size": 7}, flat=True, half=True),
    "gvbsm": Case(write_gvbsm, BATCHES),
    "edc": Case(write_edc, BATCHES),
    "hald": Case(write_hald, BATCHES, ("--temperature", "20"), half=True),
    "fkd": Case(
        write_fkd,
        {"epochs": 3, "names": image_names(SAMPLES, CLASSES)},
        ("--recovery", "spread", "--temperature", "1"),
    ),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    write_image_folder(root, samples=SAMPLES, classes=CLASSES, smallest=40)
    return root


@pytest.mark.parametrize("name", CASES)
def test_files_reach_the_student_as_they_were_written(
    name: str, service: RunningService, images: Path, tmp_path: Path
) -> None:
    case, files, out = CASES[name], tmp_path / "files", tmp_path / "out"
    paths = [images / one for one in image_names(SAMPLES, CLASSES)]
    sized: dict[str, Any] = {"sizes": folder_sizes(paths)}
    if case.write is not write_fkd:
        sized |= {"view": VIEW}
    truth = case.write(files, samples=SAMPLES, classes=CLASSES, **sized, **case.arguments)
    if case.flat:
        truth = _numbered_by_batches(truth, case.arguments["batch_size"])
    inspected = run_labelcast("inspect", str(files), "--json")
    assert inspected.returncode == 0, inspected.stderr
    found = json.loads(inspected.stdout)
    codec = () if truth.top_values is not None else ("--codec", _raw(truth))
    done = run_labelcast(
        *("import", str(files), "--out", str(out), "--images", str(images)),
        *("--view-size", str(VIEW), "--quiet", "--json", *codec, *case.options),
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["format"], result["labels"]) == (found["format"], len(truth))
    service.push(LabelSetDirectory(out), f"imported:{name}")
    with service.client() as client:
        label_set = client.open(f"imported:{name}")
        views = Views(truth.sample_ids, truth.seeds)
        assert label_set.manifest.num_labels == len(views)
        _check_labels(client.labels(label_set, views, _form(label_set)).values, truth)
        records = label_set.records()
    assert records is not None
    table = SampleTable(ImageFolder(images))
    assert label_set.contract.dataset == table.digest()
    replayed, renderer = records.of(views), RecordedRenderer(records)
    assert truth.coords is not None
    # The images differ in size, so crops are kept to 1/65,535; fp16 may put one beyond the edge.
    np.testing.assert_allclose(replayed.crop, truth.coords, atol=2**-11 if case.half else 2 / 65535)
    if truth.flip is not None:
        np.testing.assert_array_equal(replayed.flip, truth.flip)
    if truth.partner_sample_ids is not None and truth.mix != "none":
        np.testing.assert_array_equal(replayed.partner_sample_ids, truth.partner_sample_ids)
        np.testing.assert_array_equal(replayed.partner_seeds, truth.partner_seeds)
    if truth.lam is not None and truth.mix != "none":
        np.testing.assert_array_equal(replayed.lam, truth.lam)
    if truth.box is not None:
        np.testing.assert_array_equal(replayed.box, truth.box)
    at = np.arange(len(views))
    if label_set.contract.policy is not None:
        partners = renderer.partners(views[at])
        pixels = renderer.render(
            views[at],
            table.image_list(views[at].sample_ids),
            None if partners is views[at] else table.image_list(partners.sample_ids),
        )
        expected = torch.stack([_producer_pixels(truth, int(row), paths) for row in at])
        assert float((pixels - expected).abs().max()) <= PIXEL_TOLERANCE


def _numbered_by_batches(truth: Truth, batch_size: int) -> Truth:
    """Files without epochs: the next seed begins with the batch that holds a sample again."""
    seeds, seed, seen = np.zeros_like(truth.seeds), 0, set[int]()
    for first in range(0, len(truth), batch_size):
        batch = slice(first, first + batch_size)
        ids = set(truth.sample_ids[batch].tolist())
        if ids & seen:
            seed, seen = seed + 1, set()
        seen |= ids
        seeds[batch] = seed
    return replace(truth, seeds=seeds, partner_seeds=seeds)


def _raw(truth: Truth) -> str:
    return "raw:fp32" if truth.labels.dtype == np.float32 else "raw:fp16"


def _form(label_set: RemoteLabelSet) -> Representation:
    if label_set.contract.label_kind is LabelKind.LOGITS:
        return Representation.logits(Precision.FP32)
    ends = label_set.contract.temperatures
    assert ends is not None
    return Representation.probabilities(ends.low, Precision.FP32)


def _check_labels(values: np.ndarray[Any, Any], truth: Truth) -> None:
    if truth.top_values is None:
        np.testing.assert_array_equal(values, truth.labels.astype(np.float32))
        return
    if truth.label_kind == "logits":
        # What top-k logits leave out has the probability 0, whatever number stands for it.
        missing = np.isinf(truth.labels)
        assert (np.exp(values[missing] / 20) == 0).all()
        np.testing.assert_array_equal(values[~missing], truth.labels[~missing])
        return
    np.testing.assert_allclose(values, truth.labels, rtol=2**-10, atol=1e-3)


def _producer_pixels(truth: Truth, row: int, paths: Sequence[Path]) -> torch.Tensor:
    own = _unmixed(truth, row, paths)
    if truth.mix == "none" or truth.partner_sample_ids is None or truth.partner_seeds is None:
        return own
    other = truth.row(int(truth.partner_sample_ids[row]), int(truth.partner_seeds[row]))
    partner = _unmixed(truth, other, paths)
    if truth.mix == "mixup":
        assert truth.lam is not None
        lam = float(truth.lam[row])
        return lam * own + (1 - lam) * partner
    assert truth.box is not None
    top, left, bottom, right = truth.box[row].tolist()
    own[:, top:bottom, left:right] = partner[:, top:bottom, left:right]
    return own


def _unmixed(truth: Truth, row: int, paths: Sequence[Path]) -> torch.Tensor:
    assert truth.coords is not None
    flip = truth.flip is not None and bool(truth.flip[row])
    with Image.open(paths[int(truth.sample_ids[row])]) as image:
        return render_view(image.convert("RGB"), truth.coords[row].tolist(), flip, VIEW)


@dataclass(frozen=True)
class LabelsOnly:
    """A producer whose views are not rendered here.

    Attributes:
        write: the writer; gives the file or directory to import, and the truth.
        options: of the import.
    """

    write: Callable[[Path], tuple[Path, Truth]]
    options: ImportOptions


SMALL: dict[str, Any] = {"samples": 9, "classes": CLASSES}
NAMES = tuple(f"class {number}" for number in range(CLASSES))


def _plain(container: str) -> Callable[[Path], tuple[Path, Truth]]:
    def write(directory: Path) -> tuple[Path, Truth]:
        truth = write_arrays(directory, container=container, **SMALL)  # type: ignore[arg-type]
        return directory / f"labels.{container}", truth

    return write


LABELS_ONLY = {
    "edc": LabelsOnly(
        lambda at: (at, write_edc(at, **BATCHES, **SMALL, view=VIEW)),
        ImportOptions(view_size=VIEW),
    ),
    "lpld-21k": LabelsOnly(
        lambda at: (at, write_lpld(at, epochs=2, batch_size=4, cutout=True, **SMALL, view=VIEW)),
        ImportOptions(view_size=VIEW),
    ),
    "tinyvit": LabelsOnly(
        lambda at: (at, write_tinyvit(at, epochs=2, batch_size=4, k=3, **SMALL)),
        ImportOptions(class_names=NAMES),
    ),
    "ml-dr": LabelsOnly(
        lambda at: (at, write_apple_dr(at, epochs=2, batch_size=4, k=3, **SMALL)),
        ImportOptions(class_names=NAMES, recovery=Recovery.SPREAD),
    ),
    "distillkit": LabelsOnly(
        lambda at: (
            at,
            write_distillkit(
                at, Settings(d=300, k=8, exact_k=8), lengths=[5, 3], recovery="spread"
            ),
        ),
        ImportOptions(recovery=Recovery.SPREAD),
    ),
    "npy": LabelsOnly(_plain("npy"), ImportOptions()),
    "npz": LabelsOnly(_plain("npz"), ImportOptions()),
    "parquet": LabelsOnly(_plain("parquet"), ImportOptions()),
    "mtt": LabelsOnly(
        lambda at: (at, write_mtt(at, **SMALL)), ImportOptions(label_kind=LabelKind.LOGITS)
    ),
    "frepo": LabelsOnly(
        lambda at: (at / "x.npz", write_frepo(at / "x.npz", **SMALL)),
        ImportOptions(label_kind=LabelKind.LOGITS),
    ),
    "pdd": LabelsOnly(lambda at: (at, write_pdd(at, classes=CLASSES, stages=3)), ImportOptions()),
}


@pytest.mark.parametrize("name", LABELS_ONLY)
def test_labels_of_every_other_format_are_served(
    name: str, service: RunningService, tmp_path: Path
) -> None:
    case, files = LABELS_ONLY[name], tmp_path / "files"
    files.mkdir()
    path, truth = case.write(files)
    labels = Import.open(path, case.options)
    dense = labels.facts.top_k is None
    made = labels.write_label_set(tmp_path / "out", codec=_raw(truth) if dense else None)
    service.push(made, f"labels-of:{name}")
    with service.client() as client:
        label_set = client.open(f"labels-of:{name}")
        views = Views(truth.sample_ids, truth.seeds)
        values = client.labels(label_set, views, _form(label_set)).values
        if dense:
            np.testing.assert_array_equal(values, truth.labels.astype(np.float32))
        else:
            np.testing.assert_allclose(values, truth.labels, rtol=2**-10, atol=1e-3)
        if isinstance(label_set.contract.policy, UnrenderedPolicy):
            with pytest.raises(InvalidRequestError, match="views of this label set are"):
                choose_renderer(label_set.contract.policy, truth.sample_ids, None)
        if truth.stages is not None:
            new = label_set.stage_views(2, new=True)
            assert set(new.sample_ids.tolist()) == set(truth.sample_ids[truth.stages == 2].tolist())
