"""Data sets, teachers and label sets that starts are tried with."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from labelcast.augmentation import AugmentationPolicy, Mix
from labelcast.label_set_directory import MANIFEST_NAME, LabelSetDirectory
from labelcast.torch import ImageFolder, SampleTable
from labelcast_producers.dense.labels import DenseLabels
from labelcast_producers.encoding.label_set_writer import write_label_set
from labelcast_producers.fitting import FitConfig, fit
from labelcast_producers.neural.chosen_encoder import choose_encoder
from labelcast_producers.neural.compute import Compute
from labelcast_producers.neural.fitted_files import CODEC_FILE
from labelcast_producers.relabel.relabeller import relabel

CLASSES, PER_CLASS, SIZE = 10, 6, 96
SEEDS = 12
CROPS = AugmentationPolicy(
    view_height=64,
    view_width=64,
    crop_scale=(0.2, 1.0),
    crop_ratio=1.33,
    rotation_degrees=15.0,
    flip_probability=0.5,
)
CUTMIX = replace(CROPS, mix=Mix.CUTMIX, mix_probability=0.8)
PATCHES = AugmentationPolicy(
    view_height=16, view_width=16, crop_scale=(0.5, 1.0), patch_grid=2, mix=Mix.CUTMIX
)
MEAN, DEVIATION = 0.45, 0.25


class Changed(Dataset[tuple[Tensor, int]]):
    """A data set without files whose images are another's, changed."""

    def __init__(self, dataset: Any, change: Callable[[Tensor], Tensor]) -> None:
        self._dataset, self._change = dataset, change
        self.sample_ids, self.class_names = dataset.sample_ids, dataset.class_names
        self.hard_labels = dataset.hard_labels

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = self._dataset[index]
        return self._change(image), label


class Pooled(nn.Module):
    """A linear teacher of what is left of an image at 6 × 6 pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        weight = torch.randn(CLASSES, channels * 36, generator=torch.Generator().manual_seed(0))
        self.weight = nn.Parameter(weight)

    def forward(self, images: Tensor) -> Tensor:
        pooled = nn.functional.adaptive_avg_pool2d(images, 6).flatten(1)
        return (pooled - pooled.mean(dim=1, keepdim=True)) @ self.weight.T


@dataclass(frozen=True)
class Made:
    """A label set with what it was made of.

    Attributes:
        name: for people.
        dataset: opens the data set anew.
        directory: of the label set.
        other_codec: artifact of another fit of the same shape; None for codecs that are not fitted.
        root: folder of its photographs; None for other images.
    """

    name: str
    dataset: Callable[[], Any]
    directory: Path
    other_codec: bytes | None
    root: Path | None

    def label_set(self) -> LabelSetDirectory:
        """Opened anew."""
        return LabelSetDirectory(self.directory)


def make_all(directory: Path, only: Sequence[int] | None = None) -> list[Made]:
    """Six label sets: policies, codecs, pixels and sizes differ.

    What another process has made in `directory` is opened, not made again; `only` some are made.
    """
    photographs = directory / "photographs"
    digits = directory / "digits"
    if not digits.exists():
        write_photographs(photographs)
        write_digits(digits)

    def folder() -> ImageFolder:
        return ImageFolder(photographs, size=SIZE)

    def grey() -> ImageFolder:
        return ImageFolder(digits, channels=1)

    def normalised() -> Any:
        return Changed(folder(), lambda image: (image - MEAN) / DEVIATION)

    plans = [
        _Plan("photographs, crops, raw", folder, CROPS, "raw:fp16", photographs),
        _Plan("photographs, CutMix, conditioned", folder, CUTMIX, None, photographs),
        _Plan("photographs as they are, top-k", folder, None, "topk:4", photographs),
        _Plan("digits, patches and CutMix, raw", grey, PATCHES, "raw:fp32", None),
        _Plan("digits as they are, fitted", grey, None, None, None),
        _Plan("normalised, CutMix, raw", normalised, CUTMIX, "raw:fp16", None),
    ]
    chosen = range(len(plans)) if only is None else only
    return [_made(directory / str(number), plans[number]) for number in chosen]


def write_photographs(root: Path) -> None:
    """`root/C/N.jpg`: cuts of two photographs."""
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    photographs = [Image.fromarray(image) for image in load_sample_images().images]
    for label in range(CLASSES):
        (root / str(label)).mkdir(parents=True)
        for number in range(PER_CLASS):
            photograph = photographs[number % len(photographs)]
            left = int(rng.integers(photograph.width - 200))
            top = int(rng.integers(photograph.height - 150))
            cut = photograph.crop((left, top, left + 200, top + 150))
            cut.save(root / str(label) / f"{number}.jpg", quality=92)


def write_digits(root: Path) -> None:
    """`root/C/N.png`: scanned digits at twice their size."""
    from sklearn.datasets import load_digits

    scans = load_digits()
    for label in range(CLASSES):
        (root / str(label)).mkdir(parents=True)
        for number, scan in enumerate(scans.images[scans.target == label][:PER_CLASS]):
            image = Image.fromarray((scan / 16 * 255).astype(np.uint8))
            image.resize((16, 16)).save(root / str(label) / f"{number}.png")


def photographs_resized(root: Path, resize: Callable[[Any], Any]) -> Any:
    """The photographs, resized by other means."""

    class Resized(ImageFolder):
        def decode(self, content: bytes, index: int, /) -> tuple[Tensor, int]:
            with Image.open(io.BytesIO(content)) as file:
                pixels = np.array(resize(file.convert("RGB")))
            image = torch.from_numpy(pixels).permute(2, 0, 1).float().div_(255)
            return image.contiguous(), int(self.hard_labels[index])

    return Resized(root, size=SIZE)


@dataclass(frozen=True)
class _Plan:
    name: str
    dataset: Callable[[], Any]
    policy: AugmentationPolicy | None
    codec: str | None
    root: Path | None


def _made(directory: Path, plan: _Plan) -> Made:
    if not (directory / "set" / MANIFEST_NAME).exists():
        _make(directory, plan)
    other = None if plan.codec else (directory / "other" / CODEC_FILE).read_bytes()
    return Made(plan.name, plan.dataset, directory / "set", other, plan.root)


def _make(directory: Path, plan: _Plan) -> None:
    table = SampleTable(plan.dataset())
    relabel(
        Pooled(table.dataset[0][0].shape[0]),
        table,
        plan.policy,
        seeds=1 if plan.policy is None else SEEDS,
        out=directory / "dense",
        teacher_name="pooled",
        device="cpu",
    )
    dense = DenseLabels.open(directory / "dense")
    if plan.codec is None:
        _fit(dense, directory / "codec", 0)
        _fit(dense, directory / "other", 1)
    codec = plan.codec or str(directory / "codec")
    chosen = choose_encoder(codec, dense.description, temperature=1.0, device="cpu")
    write_label_set(dense, chosen.encoder, directory / "set", artifact=chosen.artifact)


def _fit(dense: DenseLabels, out: Path, seed: int) -> None:
    """Conditioned on context where views are augmented."""
    config = FitConfig(
        codes=4,
        codebook_size=16,
        codeword_width=4,
        encoder_hidden=(32,),
        decoder_hidden=(32,),
        class_width=8,
        steps=150,
        batch_rows=64,
        run_rows=4,
        learning_rate=1e-2,
        compute=Compute.FP32,
        seed=seed,
    )
    context = None if dense.description.policy is None else dense.context()
    kind = dense.description.label_kind
    fit(dense.rows, config, out=out, label_kind=kind, context=context, device="cpu")
