"""Advice on making label sets: what causes each message, and that what it says works.

Advice on a codec without codes is tried in ../fitting/test_context.py.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelcast.augmentation import Mix
from labelcast.label_set import GridIndex, RowOrder, digest_of
from labelcast.label_set.fingerprints import (
    FileReading,
    FingerprintKind,
    SampleFingerprints,
    fingerprint,
)
from labelcast.label_set_directory import LabelSetDirectory
from labelcast_producers.dense.labels import DenseLabels, open_labels
from labelcast_producers.encoding.add_stage import add_stage
from labelcast_producers.encoding.label_set_writer import write_label_set
from labelcast_producers.neural.chosen_encoder import choose_encoder
from tests.factories.advice import Case, try_advice
from tests.factories.dense import CLASSES, HARD, POLICY, description_of, write_dense
from tests.factories.fitted import fit_file
from tests.factories.in_memory import InMemory
from tests.producers.formats.truth_label_sets import imported_label_set, rows_of
from tests.producers.formats.writers.sre2l import write_sre2l
from tests.producers.formats.writers.truth import Truth

PLAIN = replace(POLICY, mix=Mix.NONE)
COLOUR, GREY = FileReading("RGB", "position"), FileReading("L", "position")
OLD, NEW, NEWEST = range(5), range(5, 8), range(8, 10)


def fingerprints_of(samples: range, reading: FileReading) -> SampleFingerprints:
    values = np.array([fingerprint(b"image %d" % sample) for sample in samples], np.uint64)
    ids = np.array(samples, np.uint64)
    return SampleFingerprints(FingerprintKind.FILES, ids, values, reading)


def labelled(
    at: Path,
    samples: range,
    *,
    codec: str = "raw:fp16",
    reading: FileReading | None = COLOUR,
    **description: Any,
) -> LabelSetDirectory:
    """A label set of some samples, as a relabeller of these alone would make it."""
    prints = None if reading is None else fingerprints_of(samples, reading)
    told = {"policy": PLAIN} | ({} if prints is None else {"dataset": prints.digest()})
    seeds = np.arange(2, dtype=np.uint32)
    rows = np.random.default_rng(samples[0]).normal(size=(2 * len(samples), CLASSES))
    dense = DenseLabels(
        description=description_of(**told | description),
        index=GridIndex(np.array(samples, np.uint64), seeds, RowOrder.SEED_MAJOR),
        hard_labels=HARD[samples[0] : samples[-1] + 1],
        rows=InMemory(rows.astype(np.float16)),
        fingerprints=prints,
    )
    chosen = choose_encoder(codec, dense.description, temperature=1.0, device="cpu")
    out = at / f"set {len(list(at.iterdir()))}"
    return write_label_set(dense, chosen.encoder, out, artifact=chosen.artifact)


def staged(
    base: LabelSetDirectory | None, added: LabelSetDirectory, **options: Any
) -> LabelSetDirectory:
    place = added.directory.parent
    return add_stage(
        base, added, place / f"stage {len(list(place.iterdir()))}", name="a", **options
    )


def old_and(at: Path, **new: Any) -> LabelSetDirectory:
    """Labels of the old samples, and then of new ones that are labelled this way."""
    return staged(labelled(at, OLD), labelled(at, NEW, **new))


def all_one_by_one(at: Path) -> LabelSetDirectory:
    two = staged(labelled(at, OLD), labelled(at, NEW))
    return staged(two, labelled(at, NEWEST))


def fitted(at: Path, *, context: bool) -> str:
    out = at / f"codec {context}"
    dense = write_dense(at / "dense", policy=PLAIN)
    return str(fit_file(dense, out, steps=1, class_width=4 if context else 0).out)


def both_encoded(at: Path, codec: str) -> LabelSetDirectory:
    return staged(labelled(at, OLD, codec=codec), labelled(at, NEW, codec=codec))


def without_fingerprints(at: Path) -> LabelSetDirectory:
    bare = labelled(at, NEW, reading=None)
    return staged(labelled(at, OLD), bare, keep_fingerprints=False)


def mixed(at: Path) -> Truth:
    """Files of batches of four images, each mixed with another of its batch."""
    files = at / f"files {len(list(at.iterdir()))}"
    return write_sre2l(files, samples=8, epochs=1, batch_size=4, classes=5)


def of_a_few(at: Path) -> LabelSetDirectory:
    truth = mixed(at)
    first = rows_of(truth, truth.sample_ids < 5)
    return imported_label_set(at / "few", first, view=224)


def encoded(labels: Path, codec: Path, out: Path) -> LabelSetDirectory:
    dense = open_labels(labels, None)
    chosen = choose_encoder(str(codec), dense.description, temperature=1.0, device="cpu")
    return write_label_set(dense, chosen.encoder, out, artifact=chosen.artifact)


def plain_file_under_context(at: Path) -> LabelSetDirectory:
    dense = write_dense(at / "dense")
    fit_file(dense, at / "codec", steps=1)
    return encoded(dense / "labels.npy", at / "codec", at / "set")


def directory_or_without_context(at: Path) -> None:
    encoded(at / "dense", at / "codec", at / "set")
    fit_file(at / "dense", at / "plain codec", steps=1, class_width=0)
    encoded(at / "dense" / "labels.npy", at / "plain codec", at / "plain set")


CASES: list[Case[Path]] = [
    Case(
        "the stages differ in teacher; make both alike",
        lambda at: old_and(at, teacher=digest_of(b"another teacher")),
        old_and,
    ),
    Case(
        "the stages differ in policy; make both alike",
        lambda at: old_and(at, policy=replace(PLAIN, key=1)),
        old_and,
    ),
    Case(
        "the stages differ in class_list; make both alike",
        lambda at: old_and(at, class_list=digest_of(b"other classes")),
        old_and,
    ),
    Case(
        "the stages differ in label_kind; make both alike",
        lambda at: old_and(at, codec="topk:2"),
        lambda at: both_encoded(at, "topk:2"),
    ),
    Case(
        "the stages differ in codec; encode the new samples with the codec of the base",
        lambda at: old_and(at, codec="raw:fp32"),
        old_and,
    ),
    Case(
        "fit with --no-context (in Python: context=None), and encode both stages with that codec",
        lambda at: both_encoded(at, fitted(at, context=True)),
        lambda at: both_encoded(at, fitted(at, context=False)),
    ),
    Case(
        "is staged itself; add the label sets of its stages one by one",
        lambda at: staged(labelled(at, OLD), staged(labelled(at, NEW), labelled(at, NEWEST))),
        all_one_by_one,
    ),
    Case(
        "those of files (L, sample IDs by position); make both from images that are read alike, or"
        " leave fingerprints out with --no-fingerprints",
        lambda at: old_and(at, reading=GREY),
        lambda at: (old_and(at), without_fingerprints(at)),
    ),
    Case(
        "leave --dataset out",
        lambda at: staged(labelled(at, OLD), labelled(at, NEW), dataset=digest_of(b"another")),
        old_and,
    ),
    Case(
        "is mixed with one that the labels lack; import the files of all samples",
        of_a_few,
        lambda at: imported_label_set(at / "all", mixed(at), view=224),
    ),
    Case(
        "encode a directory from `labelcast relabel`, or fit with --no-context",
        plain_file_under_context,
        directory_or_without_context,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "-", case.says)[:50])
def test_the_advice_works(case: Case[Path], tmp_path: Path) -> None:
    try_advice(case, tmp_path)
