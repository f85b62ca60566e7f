"""Distilled data sets: images with one label each, learned or hard."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from tests.producers.formats.writers.recovery import one_hot
from tests.producers.formats.writers.scaffold import save
from tests.producers.formats.writers.truth import Truth, truth_of_views

SIDE = 8


def write_mtt(
    directory: Path,
    *,
    samples: int,
    classes: int,
    seed: int = 0,
    hard: bool = False,
    label_kind: str = "logits",
    side: int = SIDE,
    iterations: Sequence[int] = (0, 500),
) -> Truth:
    """Write `images_best.pt`, `labels_best.pt` and `syn_lr_best.pt`, and what is beside them.

    Args:
        directory: that gets the files.
        samples: images, `samples // classes` of each class, sorted by class.
        classes: of the data set.
        seed: of all that is drawn.
        hard: int64 labels [N] instead of learned floats [N, C].
        label_kind: what the learned floats are taken for.
        side: of the images, [N, 3, side, side].
        iterations: at which the script also saved what it had so far.
    """
    rng = np.random.default_rng([seed, 8])
    images, own = _images(rng, samples, side), _classes(samples, classes)
    learned = _learned(rng, own, classes)
    rate = torch.tensor(rng.uniform(0.005, 0.02), dtype=torch.float32)
    save(torch.from_numpy(images), directory / "images_best.pt")
    save(torch.from_numpy(own if hard else learned), directory / "labels_best.pt")
    save(rate, directory / "syn_lr_best.pt")
    for iteration in iterations:
        for name, tensor in (
            ("images", torch.zeros(samples, 3, side, side)),
            ("images_zca", torch.zeros(samples, 3, side, side)),
            ("labels", torch.from_numpy(own)),
            ("syn_lr", rate),
        ):
            save(tensor, directory / f"{name}_{iteration}.pt")
    return _one_view_each(
        labels=one_hot(own, classes) if hard else learned,
        label_kind="probabilities" if hard else label_kind,
        images=images,
        learning_rates=(rate.item(),),
    )


def write_frepo(
    path: Path,
    *,
    samples: int,
    classes: int,
    seed: int = 0,
    label_kind: str = "logits",
    side: int = SIDE,
    keys: tuple[str, str] = ("image", "label"),
) -> Truth:
    """Write arrays of images [N, side, side, 3] and labels [N, C] as one .npz.

    Args:
        path: of the file.
        samples, classes: of the data set.
        seed: of all that is drawn.
        keys: names of both: FRePO's, or KIP's `x` and `y`.
        label_kind: what the learned floats are taken for.
        side: of the images.
    """
    rng = np.random.default_rng([seed, 9])
    images = np.ascontiguousarray(_images(rng, samples, side).transpose(0, 2, 3, 1))
    # Kernel regression fits centred targets, so that these are negative for most classes.
    learned = (_learned(rng, _classes(samples, classes), classes) / 10).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = dict(zip(keys, (images, learned), strict=True))
    np.savez(path, **arrays)
    return _one_view_each(labels=learned, label_kind=label_kind, images=images)


def write_pdd(
    directory: Path,
    *,
    classes: int,
    seed: int = 0,
    stages: int = 5,
    per_class: int = 2,
    layout: Literal["directories", "flat"] = "directories",
    arrangement: Literal["appended", "interleaved"] = "appended",
    suffix: str = "ipc2",
    first_interval: int = 0,
    side: int = SIDE,
) -> Truth:
    """Write every stage, each with all images of those before it.

    Args:
        directory: that gets `interval{i}_{suffix}` directories of three files, or flat
            `interval_{i}_data.pt` dicts of images, labels and syn_lr.
        classes: of the data set.
        seed: of all that is drawn.
        stages: to write.
        per_class: new images of each class in each stage.
        layout: directories or flat files.
        arrangement: "appended" keeps the earlier file as a prefix, as in the MTT flavour;
            "interleaved" puts each new image behind its share of the earlier ones, as in the IDC
            flavour: old 0, new 0, old 1, new 1.
        suffix: of the directories' names.
        first_interval: number of the first stage.
        side: of the images.

    Returns:
        The last stage's images, in the order in which they first appear.
    """
    rng = np.random.default_rng([seed, 10])
    new = classes * per_class
    images = _images(rng, stages * new, side)
    own = np.tile(_classes(new, classes), stages)
    rates = torch.from_numpy(rng.uniform(0.005, 0.02, stages).astype(np.float32))
    rows = np.arange(0)
    for stage in range(stages):
        added = np.arange(stage * new, (stage + 1) * new)
        if arrangement == "interleaved":
            rows = np.concatenate([rows.reshape(new, -1), added[:, None]], axis=1).reshape(-1)
        else:
            rows = np.concatenate([rows, added])
        contents = {
            "images": torch.from_numpy(images[rows]),
            "labels": torch.from_numpy(own[rows]),
            "syn_lr": rates[stage].clone(),
        }
        interval = first_interval + stage
        if layout == "flat":
            save(contents, directory / f"interval_{interval}_data.pt")
            continue
        folder = directory / f"interval{interval}_{suffix}"
        for name, tensor in contents.items():
            save(tensor, folder / f"{name}_best.pt")
            save(tensor, folder / f"{name}_1000.pt")
        save([], folder / "replay_buffer_0.pt")
    return _one_view_each(
        labels=one_hot(own, classes),
        images=images,
        stages=np.repeat(np.arange(stages), new),
        learning_rates=tuple(rates.tolist()),
    )


def _one_view_each(*, labels: NDArray[Any], **columns: Any) -> Truth:
    return truth_of_views(range(len(labels)), [0] * len(labels), labels=labels, **columns)


def _images(rng: np.random.Generator, samples: int, side: int) -> NDArray[np.float32]:
    return rng.normal(0, 1, (samples, 3, side, side)).astype(np.float32)


def _classes(samples: int, classes: int) -> NDArray[np.int64]:
    return np.arange(samples, dtype=np.int64) * classes // samples


def _learned(rng: np.random.Generator, own: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    learned = rng.normal(-1, 1, (len(own), classes))
    learned[np.arange(len(own)), own] += 5
    return learned.astype(np.float32)
