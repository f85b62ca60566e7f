"""What is run, and how much of it."""

from dataclasses import asdict, dataclass
from typing import Any

TEACHER_NAME = "EfficientNet-Lite0, ImageNet-1K"
CLASSES = 1000
PICTURE_SIZE = 256
VIEW_SIZE = 224
# Architectures of students: the first learns from every form of labels.
FIRST_STUDENT, SECOND_STUDENT = "resnet", "mobilenet"
# Samples that share a CutMix box. SRe2L mixes 10 batches an epoch at ten images per class: so do
# 1,000 pictures with this, which is RDED's own. The paper's 1,024 would leave one box an epoch.
MIX_BATCH = 100
# Of a picture's side, for the longer side of a thing; of a wallpaper's shorter side, for a crop.
# Things fill pictures as they do on ImageNet, and crops are small, which leaves them out of focus
# as what is behind a thing often is: of known things the teacher then names 81 % (on ImageNet
# itself 75 %), of smaller ones (half a side and more) on larger crops (6 to 20 %) 68 %, of those on
# whole wallpapers 49 %.
THING_SHARE = (0.75, 1.0)
CROP_SHARE = (0.03, 0.1)
# Wallpapers are made smaller, so that all are kept.
WALLPAPER_SIDE = 800
# Labels take two cores twenty minutes, and stay what they are where students are taught otherwise.
_OF_POINTS = ("fit_steps", "student")


@dataclass(frozen=True, kw_only=True)
class StudentSettings:
    """Everything that decides a student, beside its labels and its architecture.

    Attributes:
        view_size: pixels a side that it sees of the teacher's views.
        resnet_width: channels of the first stage.
        mobilenet_width: channels of the first stage.
        passes: over all views.
        batch_size: views a step.
        peak_learning_rate: top of the one-cycle schedule of AdamW.
        weight_decay: of AdamW.
        few_views: of each picture, where few of them have soft labels: HALD's number at ten images
            per class.
        prune: one view in so many has a label, where views are pruned.
    """

    view_size: int = 64
    resnet_width: int = 32
    mobilenet_width: int = 16
    passes: int = 4
    batch_size: int = 100
    peak_learning_rate: float = 3e-3
    weight_decay: float = 0.05
    few_views: int = 14
    prune: int = 4


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much of everything.

    Attributes:
        name: of the work directory.
        pictures: to train on.
        seeds: views of each, as SRe2L makes them.
        rded_pictures: the first of these, which get RDED's views too.
        rded_seeds: views of each, as RDED makes them.
        tested_pictures: of each part that students are tested on.
        tested_seeds: crops of each.
        fit_steps: of every codec that is fitted by gradient descent.
        student: settings of all students.
    """

    name: str
    pictures: int
    seeds: int
    rded_pictures: int
    rded_seeds: int
    tested_pictures: int
    tested_seeds: int
    fit_steps: int = 5000
    student: StudentSettings = StudentSettings()

    def as_json(self) -> dict[str, Any]:
        """What two results must share to be compared."""
        return self.labels_json() | self.points_json()

    def labels_json(self) -> dict[str, Any]:
        """What decides pictures and labels."""
        values = asdict(self) | {
            "picture_size": PICTURE_SIZE,
            "view_size": VIEW_SIZE,
            "mix_batch": MIX_BATCH,
            "thing_share": list(THING_SHARE),
            "crop_share": list(CROP_SHARE),
            "wallpaper_side": WALLPAPER_SIDE,
        }
        return {name: value for name, value in values.items() if name not in _OF_POINTS}

    def points_json(self) -> dict[str, Any]:
        """What decides the points, beside the labels."""
        values = asdict(self)
        return {name: values[name] for name in _OF_POINTS}


FULL = Scale(
    name="imagenet",
    pictures=1000,
    seeds=75,
    rded_pictures=500,
    rded_seeds=24,
    tested_pictures=420,
    tested_seeds=24,
)
QUICK = Scale(
    name="imagenet-quick",
    pictures=24,
    seeds=6,
    rded_pictures=12,
    rded_seeds=6,
    tested_pictures=12,
    tested_seeds=4,
    fit_steps=200,
    student=StudentSettings(passes=8, batch_size=24, few_views=2),
)
SCALES = {scale.name: scale for scale in (FULL, QUICK)}
