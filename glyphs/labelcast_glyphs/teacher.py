"""Training of the teacher, cached by the digest of its data and settings."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from labelcast.files import whole_file
from labelcast_glyphs.batch_augmentation import cutmix, random_geometry
from labelcast_glyphs.dataset import GlyphDataset
from labelcast_glyphs.evaluation import top1_accuracy
from labelcast_glyphs.networks import TEACHER_WIDTH, GlyphNet

# Part of the cache key: raise it when a change of the code makes other weights from the same
# settings, or an old cache would be served as new.
_RECIPE_VERSION = 1
_FORMAT = "labelcast-glyphs-teacher-1"


@dataclass(frozen=True, kw_only=True)
class TeacherSettings:
    """Everything that decides a teacher's weights, beside the data.

    Attributes:
        num_classes: classes of Glyphs.
        width: channels of the first convolution, a multiple of 8.
        epochs: passes over the 9 training faces.
        batch_size: pictures per step.
        peak_learning_rate: top of the one-cycle schedule of AdamW.
        weight_decay: of AdamW.
        max_rotation_degrees: rotations are uniform in ± this.
        min_crop_scale: smallest share of the picture that a crop keeps.
        cutmix_share: probability that a batch is mixed by CutMix.
        seed: of the initial weights, the order and the augmentation.
    """

    num_classes: int = 1000
    width: int = TEACHER_WIDTH
    epochs: int = 30
    batch_size: int = 125
    peak_learning_rate: float = 4e-3
    weight_decay: float = 0.05
    max_rotation_degrees: float = 15.0
    min_crop_scale: float = 0.4
    cutmix_share: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values outside their ranges.

        Raises:
            ValueError: naming the field.
        """
        for name in ("num_classes", "width", "epochs", "batch_size", "peak_learning_rate"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        if not 0 < self.min_crop_scale <= 1:
            raise ValueError(f"min_crop_scale must lie in (0, 1], not {self.min_crop_scale}")
        if not 0 <= self.cutmix_share <= 1:
            raise ValueError(f"cutmix_share must lie in [0, 1], not {self.cutmix_share}")

    @classmethod
    def quick(cls) -> TeacherSettings:
        """Settings for a teacher within a minute of two cores."""
        return cls(epochs=8)


@dataclass(frozen=True, eq=False)
class Teacher:
    """A trained teacher and where it came from.

    Attributes:
        network: in eval mode, without gradients.
        settings: what it was trained with.
        held_out_top1: share in [0, 1] on the 3 held-out faces, whole pictures.
        digest: sha256 (hex) over data, settings and recipe: the name of the cache entry.
        path: its safetensors file.
        from_cache: whether this call found it there.
    """

    network: GlyphNet
    settings: TeacherSettings
    held_out_top1: float
    digest: str
    path: Path
    from_cache: bool


def train_or_load_teacher(
    settings: TeacherSettings, cache_dir: Path, *, show_progress: bool = True
) -> Teacher:
    """Return the teacher of these settings, trained now unless the cache has it.

    The order, augmentation and initial weights are seeded; the weights still differ in the last
    bits between CPUs and numbers of threads. PyTorch's global generator is left as it was.

    Args:
        settings: everything that decides the weights.
        cache_dir: directory of `teacher-<digest>.safetensors`; created when missing.
        show_progress: draw a progress bar on stderr.

    Returns:
        The teacher, ready to label.

    Raises:
        ValueError: impossible settings, or the cache entry is damaged.
        OSError: the cache cannot be read or written.
    """
    train = GlyphDataset("train", settings.num_classes)
    held_out = GlyphDataset("held_out", settings.num_classes)
    digest = _digest(settings, train, held_out)
    path = cache_dir / f"teacher-{digest[:16]}.safetensors"
    from_cache = path.is_file()
    if not from_cache:
        started = time.perf_counter()
        network = _train(settings, train, show_progress=show_progress)
        metadata = {
            "format": _FORMAT,
            "digest": digest,
            "settings": json.dumps(asdict(settings), sort_keys=True),
            "held_out_top1": repr(top1_accuracy(network, held_out)),
            "train_seconds": f"{time.perf_counter() - started:.1f}",
            "torch": torch.__version__,
        }
        cache_dir.mkdir(parents=True, exist_ok=True)
        _save(network, path, metadata)
    network, metadata = _read(path)
    if metadata["digest"] != digest:
        raise ValueError(f"{path} holds another teacher ({metadata['digest']}); delete it")
    return Teacher(
        network=network,
        settings=settings,
        held_out_top1=float(metadata["held_out_top1"]),
        digest=digest,
        path=path,
        from_cache=from_cache,
    )


def load_teacher(path: str | Path) -> GlyphNet:
    """Load a teacher's network; the factory to name as `labelcast_glyphs.teacher:load_teacher`.

    Args:
        path: a file that `train_or_load_teacher` wrote.

    Returns:
        The network in eval mode, without gradients: float32 (N, 1, 32, 32) to logits
        (N, num_classes).

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a teacher of Glyphs, or damaged.
    """
    return _read(Path(path))[0]


def _digest(settings: TeacherSettings, train: GlyphDataset, held_out: GlyphDataset) -> str:
    identity = {
        "recipe": _RECIPE_VERSION,
        "settings": asdict(settings),
        "train": train.digest(),
        "held_out": held_out.digest(),
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _seeded_network(num_classes: int, width: int, seed: int) -> GlyphNet:
    """Draw initial weights without touching the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GlyphNet(num_classes, width)


def _train(settings: TeacherSettings, dataset: GlyphDataset, *, show_progress: bool) -> GlyphNet:
    network = _seeded_network(settings.num_classes, settings.width, settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    images, labels = dataset.image_tensor(), dataset.label_tensor()
    steps = settings.epochs * -(-len(dataset) // settings.batch_size)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=settings.peak_learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.peak_learning_rate, total_steps=steps, cycle_momentum=False
    )
    network.train()
    with tqdm(total=steps, desc="teacher", unit="step", disable=not show_progress) as progress:
        for _ in range(settings.epochs):
            order = torch.randperm(len(dataset), generator=generator)
            for rows in order.split(settings.batch_size):
                loss = _loss(network, images[rows], labels[rows], settings, generator)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                progress.update()
    return network.eval()


def _loss(
    network: GlyphNet,
    images: torch.Tensor,
    labels: torch.Tensor,
    settings: TeacherSettings,
    generator: torch.Generator,
) -> torch.Tensor:
    """Cross-entropy on augmented views; a mixed view's two labels weigh by their areas."""
    views = random_geometry(
        images,
        max_rotation_degrees=settings.max_rotation_degrees,
        min_crop_scale=settings.min_crop_scale,
        generator=generator,
    )
    if torch.rand((), generator=generator).item() >= settings.cutmix_share:
        return F.cross_entropy(network(views), labels)
    views, partner, share = cutmix(views, generator=generator)
    logits = network(views)
    own = F.cross_entropy(logits, labels, reduction="none")
    other = F.cross_entropy(logits, labels[partner], reduction="none")
    return ((1 - share) * own + share * other).mean()


def _save(network: GlyphNet, path: Path, metadata: dict[str, str]) -> None:
    tensors = {name: value.contiguous() for name, value in network.state_dict().items()}
    with whole_file(path) as partial:
        save_file(tensors, partial, metadata=metadata)


def _read(path: Path) -> tuple[GlyphNet, dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
        if metadata.get("format") != _FORMAT:
            raise ValueError(f"{path} is not a teacher of Glyphs")
        settings = json.loads(metadata["settings"])
        known = {field.name for field in fields(TeacherSettings)}
        if not known >= set(settings):
            raise ValueError(f"unknown settings {sorted(set(settings) - known)}")
        network = _seeded_network(settings["num_classes"], settings["width"], settings["seed"])
        network.load_state_dict(load_file(path))
        float(metadata["held_out_top1"]), metadata["digest"]
    except (SafetensorError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return network.eval().requires_grad_(False), metadata
