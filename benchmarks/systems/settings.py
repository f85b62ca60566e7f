"""What is run: the systems and the sizes of a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from labelcast_glyphs.teacher import TeacherSettings

TEMPERATURE = 20.0
# Codecs are fitted at 4 and declared right up to 20. At 16 bytes and 2,000 steps that left a KL of
# 0.00040 at 20, a fit at 20 itself 0.00064: what tells labels apart there drowns in rounding.
FIT_TEMPERATURE = 4.0
VIEW_SIZE = 32


@dataclass(frozen=True, kw_only=True)
class System:
    """A published system.

    Attributes:
        name: on the command line, and of its recipe where it has one.
        title: for people.
        paper: arXiv number.
        batch_size: of producer and student.
        producer_seed: of the crops and mixes that its files hold.
        stores: whether it writes files; else its teacher runs at every step of a student.
        drop_last: its producer leaves out a last batch that is not full.
        prune: only the first 1/prune of all batches are stored, and students draw from those with
            replacement.
        epochs: that are labelled before pruning; None for those of the run.
        fit: settings of the codec, beside the temperature and the steps.
    """

    name: str
    title: str
    paper: str
    batch_size: int = 100
    producer_seed: int = 0
    stores: bool = True
    drop_last: bool = False
    prune: float = 1.0
    epochs: int | None = None
    fit: Mapping[str, Any] = field(default_factory=dict)


_TABLE = (
    System(name="sre2l", title="SRe2L", paper="2306.13092"),
    # Its curriculum is in how images are made: its labels are SRe2L's, in batches of 128.
    System(name="cda", title="CDA", paper="2311.18838", batch_size=128, producer_seed=1),
    System(name="rded", title="RDED", paper="2312.03526", stores=False),
    # 15,000 labels share the codec, and each byte of its decoder weighs eight times what it does
    # in the other sets: a layer of 512 would cost 70 bytes a label, one of 128 costs 19.
    System(
        name="lpld",
        title="LPLD 40×",
        paper="2410.15919",
        producer_seed=2,
        drop_last=True,
        prune=40.0,
        epochs=300,
        fit={"decoder_hidden": [128], "class_width": 32, "codeword_width": 4},
    ),
)
SYSTEMS = {system.name: system for system in _TABLE}


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much of everything.

    Attributes:
        name: of the work directory.
        teacher: settings of its training.
        images_per_class: of the distilled set.
        epochs: labelled by systems that do not prune, and trained by every student.
        pruned_epochs: labelled, before pruning, by those that do; None for the system's own.
        fit_steps: of the codec.
        batch_divisor: what batches are smaller than the systems'.
    """

    name: str
    teacher: TeacherSettings
    images_per_class: int = 2
    epochs: int = 60
    pruned_epochs: int | None = None
    fit_steps: int = 5000
    batch_divisor: int = 1

    @property
    def samples(self) -> int:
        """Images that are labelled."""
        return self.images_per_class * self.teacher.num_classes

    def batch_size(self, system: System) -> int:
        """Of producer and student."""
        return system.batch_size // self.batch_divisor

    def labelled_epochs(self, system: System) -> int:
        """Before pruning."""
        if system.epochs is None:
            return self.epochs
        return self.pruned_epochs or system.epochs

    def fit_config(self, system: System) -> dict[str, Any]:
        """Settings of `labelcast fit`."""
        return {
            "temperature": FIT_TEMPERATURE,
            "temperature_reach": TEMPERATURE / FIT_TEMPERATURE,
            "steps": self.fit_steps,
            **system.fit,
        }


FULL = Scale(name="glyphs-1000", teacher=TeacherSettings())
# 44 images in batches of 8: the last of an epoch is short, and LPLD's last epoch is not whole.
QUICK = Scale(
    name="quick",
    teacher=TeacherSettings(num_classes=22, width=8, epochs=3, batch_size=30),
    epochs=4,
    pruned_epochs=60,
    fit_steps=200,
    batch_divisor=12,
)
