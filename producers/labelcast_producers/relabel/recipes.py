"""How papers make the views that a teacher labels, with views drawn from seeds.

The recipes say what is drawn, in which order and from what ranges. The draws themselves are ours:
aspect ratios are uniform rather than log-uniform, and a stateless generator replaces the papers'
own.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import AugmentationPolicy, Mix
from labelcast.augmentation.seeded.batches import sample_order
from labelcast.errors import InvalidRequestError, LabelFileError
from labelcast.label_set import from_canonical, to_canonical
from labelcast.torch.losses import Loss

RECIPE_NAME = "recipe.json"
FORMAT = "labelcast/recipe/1"
_MAX_EPOCHS = 2**32 - 1


@dataclass(frozen=True, slots=True)
class KeptViews:
    """Which views are labelled.

    Attributes:
        seeds: augmentation seeds 0 … seeds − 1 have views.
        present: int64, strictly increasing: the views that exist, numbered seed position × samples
            + sample position; None where all do.
    """

    seeds: int
    present: NDArray[np.int64] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A paper's views, and what its students do with their labels.

    Attributes:
        name: name on the command line.
        paper: arXiv number.
        crop_scale: least and greatest share of the image's area that a crop covers.
        crop_ratio: greatest ratio of a crop's longer to its shorter side.
        flip: probability of a horizontal flip.
        mix: how views are mixed.
        batch_size: batch size of the student; also the number of samples that share one mix.
        patch_grid: patches per side that are shuffled before the crop; 1 for none.
        epochs: epochs that a student trains for: one seed each.
        prune: only the first 1/prune of all batches are labelled; students draw from those.
        temperature: softmax temperature of teacher and student in the loss.
        loss: loss that the student minimises; the papers' KL has no T² factor.

    Raises:
        InvalidRequestError: epochs, batch size, prune or temperature is out of range. The policy
            that `policy` returns checks what concerns views.
    """

    name: str
    paper: str
    crop_scale: tuple[float, float] = (0.08, 1.0)
    crop_ratio: float = 4 / 3
    flip: float = 0.5
    mix: Mix = Mix.CUTMIX
    batch_size: int
    patch_grid: int = 1
    epochs: int = 300
    prune: float = 1.0
    temperature: float = 20.0
    loss: Loss = Loss.KL

    def __post_init__(self) -> None:
        low, high = (float(end) for end in self.crop_scale)
        object.__setattr__(self, "crop_scale", (low, high))
        for name in ("crop_ratio", "flip", "prune", "temperature"):
            object.__setattr__(self, name, float(getattr(self, name)))
        checks = {
            "epochs": 1 <= self.epochs <= _MAX_EPOCHS,
            "batch_size": 2 <= self.batch_size <= 2**31,
            "prune": 1 <= self.prune < float("inf"),
            "temperature": 0 < self.temperature < float("inf"),
        }
        for name, holds in checks.items():
            if not holds:
                raise InvalidRequestError(f"recipe: {name} {getattr(self, name)} is out of range")

    def policy(self, height: int, width: int) -> AugmentationPolicy:
        """The policy that draws these views.

        Args:
            height: height of every view, in pixels.
            width: width of every view, in pixels.

        Raises:
            ManifestError: a value is out of range.
        """
        return AugmentationPolicy(
            view_height=height,
            view_width=width,
            crop_scale=self.crop_scale,
            crop_ratio=self.crop_ratio,
            flip_probability=self.flip,
            mix=self.mix,
            mix_batch=0 if self.mix is Mix.NONE else self.batch_size,
            patch_grid=self.patch_grid,
        )

    def kept_views(self, samples: int, *, key: int = 0) -> KeptViews:
        """The views of the first 1/prune of the batches of all epochs.

        Args:
            samples: number of samples in the data set.
            key: key of the policy.
        """
        if self.prune == 1:
            return KeptViews(self.epochs, None)
        a_seed = -(-samples // self.batch_size)
        whole, rest = divmod(max(1, int(self.epochs * a_seed / self.prune)), a_seed)
        if not rest:
            return KeptViews(whole, None)
        order = sample_order(samples, seed=whole, key=key)
        last = np.sort(order[: rest * self.batch_size]) + whole * samples
        return KeptViews(whole + 1, np.concatenate([np.arange(whole * samples), last]))

    def as_json(self) -> dict[str, Any]:
        """JSON value that `from_json` reads back."""
        values = asdict(self) | {"crop_scale": list(self.crop_scale)}
        return {"format": FORMAT} | values | {"mix": str(self.mix), "loss": str(self.loss)}

    def to_bytes(self) -> bytes:
        """Canonical JSON: the content of `recipe.json` beside the labels."""
        return to_canonical(self.as_json())

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Parse strictly.

        Raises:
            LabelFileError: it is of another format, or a field is missing, unknown, of another type
                or out of range.
        """
        if not isinstance(value, Mapping) or value.get("format") != FORMAT:
            raise LabelFileError(f"the recipe is of another format than {FORMAT}")
        names = {field.name for field in fields(cls)} | {"format"}
        if set(value) != names:
            raise LabelFileError(
                f"recipe: fields missing or unknown: {sorted(set(value) ^ names, key=str)}"
            )
        given = {name: value[name] for name in names - {"format"}}
        for name, kinds in _KINDS.items():
            if type(given[name]) not in kinds:
                raise LabelFileError(f"recipe: {name} is of another type")
        scale = given["crop_scale"]
        if len(scale) != 2 or any(type(end) not in (int, float) for end in scale):
            raise LabelFileError("recipe: crop_scale must be two numbers")
        try:
            given |= {"mix": Mix(given["mix"]), "loss": Loss(given["loss"])}
            return cls(**given | {"crop_scale": (scale[0], scale[1])})
        except (ValueError, OverflowError, InvalidRequestError) as error:
            raise LabelFileError(f"recipe: {error}") from None

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Parse `recipe.json`.

        Raises:
            LabelFileError: see `from_json`.
            ManifestError: it is not canonical JSON.
        """
        return cls.from_json(from_canonical(content, RECIPE_NAME, max_bytes=2**16))


_NUMBER, _INTEGER, _TEXT = (int, float), (int,), (str,)
_KINDS: dict[str, tuple[type, ...]] = {
    "name": _TEXT,
    "paper": _TEXT,
    "crop_scale": (list,),
    "crop_ratio": _NUMBER,
    "flip": _NUMBER,
    "mix": _TEXT,
    "batch_size": _INTEGER,
    "patch_grid": _INTEGER,
    "epochs": _INTEGER,
    "prune": _NUMBER,
    "temperature": _NUMBER,
    "loss": _TEXT,
}

_TABLE = (
    Recipe(name="sre2l", paper="2306.13092", batch_size=1024),
    # The curriculum is in how the images are made; their labels are SRe2L's.
    Recipe(name="cda", paper="2311.18838", batch_size=128),
    # Its students run the teacher at every step; the batch is that of ten images per class.
    Recipe(name="rded", paper="2312.03526", batch_size=100, crop_scale=(0.5, 1.0), patch_grid=2),
    # 40× is the paper's middle setting; it drops a last batch that is not full, which is kept here.
    Recipe(name="lpld", paper="2410.15919", batch_size=128, prune=40.0),
    # Crops of the original images, 500 an image; the batch is assumed.
    Recipe(
        name="fkd",
        paper="2112.01528",
        batch_size=1024,
        mix=Mix.NONE,
        epochs=500,
        temperature=1.0,
        loss=Loss.SOFT_CE,
    ),
)
RECIPES = {recipe.name: recipe for recipe in _TABLE}
