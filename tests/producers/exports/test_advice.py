"""Advice on exports: what causes each message, and that what it says works.

Advice on missing views, image sizes and directories that are not empty is tried in test_sre2l.py.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import labelcast
from labelcast import UNCHECKED, Representation
from labelcast.augmentation import (
    AugmentationPolicy,
    ForeignPolicy,
    Mix,
    PositionPolicy,
    ViewPolicy,
)
from labelcast.cli.app import app
from labelcast.codec import LabelKind
from labelcast.label_set import class_list_digest
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.torch import LabelSetSource, SoftLabelLoader
from labelcast.views import Views
from labelcast_producers.exports.sre2l import ExportReport, export_sre2l
from labelcast_producers.formats.source import PermutationDraws
from tests.factories.advice import Case, try_advice
from tests.factories.pictures import CLASSES, Pictures
from tests.producers.formats.truth_label_sets import imported_label_set, make_label_set
from tests.producers.formats.writers.sre2l import write_sre2l

SAMPLES, BATCH = 11, 4
PLAIN = AugmentationPolicy(view_height=6, view_width=6, crop_scale=(0.3, 0.8))
SHARES = LabelKind.PROBABILITIES
SOFT = np.full((SAMPLES, len(CLASSES)), 1 / len(CLASSES), np.float16)


def seeded(
    at: Path, policy: ViewPolicy | None = PLAIN, *, first_id: int = 0, **options: Any
) -> LabelSetDirectory:
    """A label set of one seed, which `Pictures` can train on."""
    logits = np.random.default_rng(5).normal(size=(SAMPLES, len(CLASSES))).astype(np.float16)
    views = Views.of(range(SAMPLES), 0)
    labels = options.pop("labels", logits)
    made = make_label_set(at / "set", policy, views, labels, first_id=first_id, **options)
    contract = replace(made.contract, class_list=class_list_digest(CLASSES))
    (at / "set" / "manifest.json").write_bytes(replace(made.manifest, contract=contract).to_bytes())
    return LabelSetDirectory(at / "set")


def imported(at: Path) -> LabelSetDirectory:
    """What an importer makes of SRe2L's files, of mixed batches of four."""
    if not (at / "set").exists():
        sizes = [(60, 83)] * SAMPLES
        truth = write_sre2l(
            at / "in", samples=SAMPLES, epochs=1, batch_size=BATCH, classes=7, view=32, sizes=sizes
        )
        imported_label_set(at / "set", truth, view=32)
    return LabelSetDirectory(at / "set")


def export(label_set: LabelSetDirectory, **options: Any) -> ExportReport:
    chosen: Mapping[str, Any] = {"batch_size": BATCH, **options}
    out = label_set.directory.parent / f"out {len(list(label_set.directory.parent.iterdir()))}"
    return export_sre2l(label_set, out, **chosen)


def command(*words: object) -> object:
    return app([*map(str, words)], standalone_mode=False)


def train(label_set: LabelSetDirectory) -> None:
    """One epoch with the loader that messages send people to."""
    pictures = Pictures(SAMPLES, channels=3)
    pictures.sample_ids = label_set.index().sample_ids
    source = LabelSetSource(label_set, Representation.codes())
    loader = SoftLabelLoader(
        pictures, source, seeds=[0], batch_size=BATCH, fingerprints=UNCHECKED, canary=None
    )
    assert sum(len(batch.images) for batch in loader) == SAMPLES


def read_labels(at: Path) -> None:
    labels = labelcast.open(at / "set").labels(range(SAMPLES), 0)
    assert labels.shape == (SAMPLES, len(CLASSES))


def needs_own_loader(why: str, policy: ViewPolicy | None = PLAIN, **options: Any) -> Case[Path]:
    says = f"{why}, which files cannot say" if why.startswith("have") else why
    return Case(
        f"{says}: train on this label set with labelcast's own loader instead",
        lambda at: export(seeded(at, policy, **options)),
        lambda at: train(LabelSetDirectory(at / "set")),
    )


def is_no_set_of_images(policy: PositionPolicy | ForeignPolicy) -> Case[Path]:
    return Case(
        f"{policy.meaning}: read its labels by sample ID and seed instead, with"
        " labelcast.open(directory)",
        lambda at: export(seeded(at, policy)),
        read_labels,
    )


def mixing_by_four(at: Path) -> LabelSetDirectory:
    return seeded(at, replace(PLAIN, mix=Mix.CUTMIX, mix_batch=BATCH))


CASES: list[Case[Path]] = [
    Case(
        "this label set mixes batches of 4; use that batch size",
        lambda at: export(mixing_by_four(at), batch_size=5, layout="lpld"),
        lambda at: export(LabelSetDirectory(at / "set"), batch_size=4, layout="lpld"),
    ),
    Case(
        "most have 4: use that batch size",
        lambda at: export(imported(at), batch_size=5, layout="lpld"),
        lambda at: export(imported(at), batch_size=4, layout="lpld"),
    ),
    Case(
        "use batch size 4 if that is theirs",
        lambda at: export(imported(at), batch_size=5),
        lambda at: export(imported(at), batch_size=4),
    ),
    Case(
        "and draws and seed of the sampler that made them, or use layout lpld, whose files name"
        " their samples",
        lambda at: export(imported(at), sampler_seed=9, draws=PermutationDraws.ONE),
        lambda at: (
            export(imported(at), sampler_seed=42, draws=PermutationDraws.TWO),
            export(imported(at), sampler_seed=9, draws=PermutationDraws.ONE, layout="lpld"),
        ),
    ),
    Case(
        "write --dtype float32 (in Python: dtype=torch.float32)",
        lambda at: export(seeded(at, labels=np.full(SOFT.shape, 1e5, np.float32))),
        lambda at: (
            export(LabelSetDirectory(at / "set"), dtype=torch.float32),
            command(
                *("export", at / "set", "--out", at / "files", "--batch-size", 4, "--quiet"),
                *("--dtype", "float32"),
            ),
        ),
    ),
    needs_own_loader("have rotation", replace(PLAIN, rotation_degrees=9)),
    needs_own_loader("have shuffled patches", replace(PLAIN, patch_grid=2)),
    needs_own_loader("have a partner drawn for each", replace(PLAIN, mix=Mix.CUTMIX)),
    needs_own_loader("which this label set's views are not", None),
    needs_own_loader("the scripts' are the positions 0 to 10", first_id=5),
    needs_own_loader("probabilities, the files raw logits", labels=SOFT, kind=SHARES),
    is_no_set_of_images(PositionPolicy()),
    is_no_set_of_images(ForeignPolicy()),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "-", case.says)[:50])
def test_the_advice_works(case: Case[Path], tmp_path: Path) -> None:
    try_advice(case, tmp_path)
