"""The writers of sets, tables and pixels: what a plain reading of their files finds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from tests.producers.formats.stored_files import is_tensor, load
from tests.producers.formats.writers.arrays import Container, write_arrays
from tests.producers.formats.writers.distilled_sets import write_frepo, write_mtt, write_pdd
from tests.producers.formats.writers.producer_pixels import (
    cutmix_batch,
    folder_sizes,
    mixup_batch,
    render_view,
    write_image_folder,
)
from tests.producers.formats.writers.tables import read_table


@pytest.mark.parametrize("hard", [False, True])
def test_mtt(tmp_path: Path, hard: bool) -> None:
    truth = write_mtt(tmp_path, samples=8, classes=4, hard=hard)
    labels, images = load(tmp_path / "labels_best.pt"), load(tmp_path / "images_best.pt")
    assert is_tensor(images, torch.float32, 8, 3, 8, 8)
    assert truth.learning_rates == (load(tmp_path / "syn_lr_best.pt").item(),)
    if hard:
        assert is_tensor(labels, torch.int64, 8)
        assert truth.labels.argmax(1).tolist() == labels.tolist()
    else:
        assert is_tensor(labels, torch.float32, 8, 4)
        assert truth.labels.tolist() == labels.tolist()


def test_frepo(tmp_path: Path) -> None:
    truth = write_frepo(tmp_path / "set.npz", samples=8, classes=4)
    with np.load(tmp_path / "set.npz") as arrays:
        assert arrays["image"].shape == (8, 8, 8, 3)
        assert arrays["label"].tolist() == truth.labels.tolist()


@pytest.mark.parametrize("layout", ["directories", "flat"])
@pytest.mark.parametrize("arrangement", ["appended", "interleaved"])
def test_pdd_is_cumulative(tmp_path: Path, layout: Any, arrangement: Any) -> None:
    truth = write_pdd(tmp_path, classes=3, layout=layout, arrangement=arrangement)
    assert truth.stages is not None
    assert truth.images is not None
    for stage in range(5):
        if layout == "flat":
            contents = load(tmp_path / f"interval_{stage}_data.pt")
            images, labels, rate = (contents[name] for name in ("images", "labels", "syn_lr"))
        else:
            folder = tmp_path / f"interval{stage}_ipc2"
            images, labels, rate = (
                load(folder / f"{name}_best.pt") for name in ("images", "labels", "syn_lr")
            )
        until = truth.images[truth.stages <= stage]
        assert sorted(images.flatten(1).tolist()) == sorted(until.reshape(len(until), -1).tolist())
        assert is_tensor(labels, torch.int64, 6 * (stage + 1))
        assert truth.learning_rates is not None
        assert rate.item() == truth.learning_rates[stage]
        if arrangement == "appended":
            assert torch.equal(images, torch.from_numpy(until))


@pytest.mark.parametrize("epochs", [None, 2])
@pytest.mark.parametrize("container", ["npy", "npz", "safetensors", "parquet"])
def test_arrays(tmp_path: Path, container: Container, epochs: int | None) -> None:
    with_ids = container != "npy"
    truth = write_arrays(
        tmp_path,
        container=container,
        samples=6,
        classes=4,
        epochs=epochs,
        label_kind="probabilities",
        temperature=2.0,
        with_ids=with_ids,
    )
    path = tmp_path / f"labels.{container}"
    ids = list(range(6))
    if container == "parquet":
        columns = read_table(path)
        assert ("seed" in columns) == (epochs is not None)
        labels = np.array(columns["labels"], dtype=np.float32)
        ids = columns["sample_id"][:6]
    elif container == "npy":
        labels = np.load(path)
    else:
        arrays = load_file(path) if container == "safetensors" else dict(np.load(path))
        labels, ids = arrays["labels"], arrays["sample_ids"].tolist()
    if container != "parquet":
        assert labels.shape == ((6, 4) if epochs is None else (2, 6, 4))
    labels = labels.reshape(-1, 6, 4)
    assert labels.sum(-1) == pytest.approx(1)
    for seed in range(len(labels)):
        for place, sample in enumerate(ids):
            row = truth.row(sample, seed)
            assert truth.labels[row].tolist() == labels[seed, place].tolist()


def test_pixels(tmp_path: Path) -> None:
    paths, labels = write_image_folder(tmp_path, samples=6, classes=3)
    assert paths == sorted(tmp_path.rglob("*.png"))
    assert labels == [0, 0, 1, 1, 2, 2]
    sizes = folder_sizes(paths)
    assert len(set(sizes)) == 6
    with Image.open(paths[2]) as image:
        pixels = np.asarray(image).astype(np.float32) / 255
        height, width = sizes[2]
        # A crop of the view's own size is not resampled, so that its pixels can be compared.
        coords = [3 / height, 5 / width, 16 / height, 16 / width]
        expected = pixels[3:19, 5:21].transpose(2, 0, 1)
        assert np.array_equal(render_view(image, coords, False, 16).numpy(), expected)
        assert np.array_equal(render_view(image, coords, True, 16).numpy(), expected[:, :, ::-1])


def test_mixed_batches_take_unmixed_partners() -> None:
    views = torch.arange(3 * 3 * 4 * 4, dtype=torch.float32).view(3, 3, 4, 4)
    index = torch.tensor([1, 2, 0])
    mixed = cutmix_batch(views, index, [0, 2, 1, 4])
    for place, partner in enumerate(index.tolist()):
        for y in range(4):
            for x in range(4):
                source = partner if y < 1 and x >= 2 else place
                assert torch.equal(mixed[place, :, y, x], views[source, :, y, x])
    assert torch.equal(mixup_batch(views, index, 0.25)[1], 0.25 * views[1] + 0.75 * views[2])
