"""The chaos suite's judge sees every kind of wrong, and its label sets are exact."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.chaos.catalog import SETS, set_named
from benchmarks.chaos.jobs import next_job
from benchmarks.chaos.judge import StreamJudge, Verdict
from benchmarks.chaos.label_sets import TEMPERATURE, SpelledSet, as_row_bytes
from benchmarks.chaos.sequences import SpelledSequences
from labelcast import DeliveredLabels, Form, Precision, Representation
from labelcast.plans.sequence_plan import SequenceBatches
from labelcast.torch.decoding import load_decoder
from labelcast_server.decoder.decode_rows import present

TEXTS = [known for known in SETS if isinstance(known, SpelledSequences)]
FORMS = [
    Representation.codes(),
    Representation.logits(),
    Representation.logits(Precision.FP32),
    Representation.probabilities(TEMPERATURE),
    Representation.probabilities(TEMPERATURE, Precision.FP32),
    Representation.top_k(1, TEMPERATURE),
    Representation.top_k(4, TEMPERATURE),
]
SMALL = [
    type(known)(known.tag, known.kind, known.number, 90, 4, known.num_classes) for known in SETS
]


def delivered(known: SpelledSet, at: np.ndarray, form: Representation) -> DeliveredLabels:
    """As the service makes them, from its own modules."""
    rows = known.rows[at]
    if form.form is not Form.CODES:
        labels = torch.from_numpy(known.codec.decode(rows))
        rows = present(labels, form, known.codec.header).numpy()
    return DeliveredLabels(known.views(at), rows, form, known.num_classes)


def judged(
    known: SpelledSet, form: Representation, asked: list[np.ndarray], got: list[DeliveredLabels]
) -> Verdict:
    judge = StreamJudge(known, form, asked)
    for batch in got:
        judge.take(batch)
    judge.ended()
    return judge.verdict


def halves(known: SpelledSet) -> list[np.ndarray]:
    at = np.random.default_rng(3).permutation(len(known))[:100]
    return [at[:60], at[60:]]


@pytest.mark.parametrize("known", SMALL, ids=[known.tag for known in SMALL])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_right_rows_are_right(known: SpelledSet, form: Representation) -> None:
    asked = halves(known)
    got = [delivered(known, at, form) for at in asked]
    assert judged(known, form, asked, got) == Verdict(rows=100)


@pytest.mark.parametrize("known", SMALL, ids=[known.tag for known in SMALL])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_rows_of_other_views_are_wrong(known: SpelledSet, form: Representation) -> None:
    asked = halves(known)
    shifted = delivered(known, np.roll(asked[0], 1), form).rows
    got = [
        DeliveredLabels(known.views(asked[0]), shifted, form, known.num_classes),
        delivered(known, asked[1], form),
    ]
    verdict = judged(known, form, asked, got)
    assert (verdict.rows, verdict.lost, verdict.duplicated) == (100, 0, 0)
    # The likeliest of a thousand classes may be the same for two views; four seldom are.
    assert verdict.wrong == 60 if form.k is None else verdict.wrong > 20
    if form.form in (Form.CODES, Form.LOGITS):
        owner = f"got {known.tag} row {asked[0][-1]}"
        assert verdict.whose[0].endswith(owner), verdict.whose


@pytest.mark.parametrize("kind", ["narrow", "wide", "vqae"])
@pytest.mark.parametrize("form", FORMS[:3], ids=str)
def test_rows_of_another_label_set_are_wrong(kind: str, form: Representation) -> None:
    known, twin = set_named(f"chaos:{kind}-a"), set_named(f"chaos:{kind}-b")
    at = np.arange(50)
    rows = delivered(twin, at, form).rows
    got = [DeliveredLabels(known.views(at), rows, form, known.num_classes)]
    verdict = judged(known, form, [at], got)
    assert verdict.wrong == 50
    assert verdict.whose[0].endswith(f"got {twin.tag} row 0")


def test_one_bit_is_wrong() -> None:
    known, form = SMALL[0], Representation.codes()
    asked = halves(known)
    rows = known.rows[asked[0]].copy()
    rows[17, 5] ^= 4
    got = [
        DeliveredLabels(known.views(asked[0]), rows, form, known.num_classes),
        delivered(known, asked[1], form),
    ]
    assert judged(known, form, asked, got).wrong == 1


def test_missing_and_repeated_batches_are_counted() -> None:
    known, form = SMALL[0], Representation.codes()
    first, second = halves(known)
    one, two = (delivered(known, at, form) for at in (first, second))
    assert judged(known, form, [first, second], [one]).lost == 40
    assert judged(known, form, [first, second], [one, one]).duplicated == 60
    assert judged(known, form, [first, second], [one, two, two]).duplicated == 40
    assert judged(known, form, [first, second], [two, two]).wrong == 40


@pytest.mark.parametrize("known", SMALL[4:6], ids=[known.tag for known in SMALL[4:6]])
def test_the_network_of_integers_is_exact_everywhere(known: SpelledSet, tmp_path: Path) -> None:
    label_set = known.write(tmp_path)
    artifact = label_set.read_blob(label_set.manifest.codec)
    decoder = load_decoder(artifact, torch.device("cpu"))
    at = np.arange(len(known))
    labels = known.logits(at)
    np.testing.assert_array_equal(labels, np.round(labels))
    np.testing.assert_array_equal(labels, labels.astype(np.float16))
    for size in (1, 3, 64, len(at)):
        rows = torch.from_numpy(known.rows[:size].copy())
        np.testing.assert_array_equal(decoder.decode(rows).numpy(), labels[:size])
    assert len(np.unique(as_row_bytes(labels), axis=0)) == len(known)


def test_students_ask_for_everything() -> None:
    random = np.random.default_rng(0)
    jobs = [next_job(random, 0.01) for _ in range(400)]
    assert {job.representation.form for job in jobs} == set(Form)
    assert {job.known for job in jobs} == set(SETS) - set(TEXTS)
    assert {len(job.batches[0]) for job in jobs} >= {1, 50, 131, 1000, 8192}
    assert any(job.raise_at is not None for job in jobs)
    assert any(job.leave_at is not None for job in jobs)


def test_sequences_are_where_the_library_finds_them(tmp_path: Path) -> None:
    known = TEXTS[0]
    label_set = known.write(tmp_path)
    at = np.random.default_rng(2).permutation(len(known))
    np.testing.assert_array_equal(label_set.gather(known.views(at)), known.rows[at])
    np.testing.assert_array_equal(known.at(known.views(at)), at)
    row = known.rows[at[0]].copy()
    assert known.name_of(row, None) == (known.number, at[0])
    # A position beyond its sequence is no row.
    row.view("<f2")[2] = known.num_seeds
    assert known.name_of(row, None) == (known.number, -1)


def test_students_of_sequences_ask_by_spans_and_by_plan() -> None:
    random = np.random.default_rng(0)
    jobs = [next_job(random, 0.01, sequences=True) for _ in range(200)]
    assert {job.known for job in jobs} == set(TEXTS)
    assert {job.representation.form for job in jobs} == {Form.CODES, Form.LOGITS}
    planned = [job for job in jobs if job.planned is not None]
    assert 0 < len(planned) < len(jobs)
    whole = [job for job in planned if isinstance(job.planned, SequenceBatches)]
    assert 0 < len(whole) < len(planned)
    for job in jobs:
        views = [job.known.views(batch) for batch in job.batches]
        if job.planned is not None:
            assert list(job.planned) == views
