"""What the codec benchmark's figures rest on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.codec import arithmetic, fidelity
from benchmarks.codec.contract import BenchmarkCodec, FitInput
from benchmarks.codec.faiss_codecs import Method, fit_faiss
from benchmarks.codec.features import Feature
from benchmarks.codec.low_rank import fit_low_rank
from benchmarks.codec.pca import fit_basis
from benchmarks.codec.queue import Finished, Unit, missing, run, write_result
from benchmarks.codec.task import Protocol, Task
from benchmarks.codec.top_k import TopK
from benchmarks.codec.uniform import Uniform
from labelcast.augmentation import AugmentationPolicy
from labelcast.codec import LabelKind, Recovery
from labelcast.identifiers import digest_from_hash
from labelcast.label_set import GridIndex, RowOrder
from labelcast_producers.dense.labels import (
    DESCRIPTION_NAME,
    LABELS_NAME,
    Description,
    write_tables,
)

CLASSES, SAMPLES, SEEDS = 12, 60, 12
DIGEST = digest_from_hash(bytes(32))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """As the benchmark's workers: on tiny problems, threads of two libraries only wait."""
    threads, faiss_threads = torch.get_num_threads(), faiss.omp_get_max_threads()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(faiss_threads)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """Labels of rank 3 and some noise; no images."""
    directory = tmp_path_factory.mktemp("task")
    dense = directory / "dense"
    dense.mkdir()
    generator = np.random.default_rng(0)
    low_rank = generator.normal(size=(SEEDS * SAMPLES, 3)) @ generator.normal(size=(3, CLASSES))
    labels = 2 * low_rank + 0.1 * generator.normal(size=low_rank.shape)
    np.save(dense / LABELS_NAME, labels.reshape(SEEDS, SAMPLES, CLASSES).astype(np.float16))
    samples, seeds = np.arange(SAMPLES, dtype=np.uint64), np.arange(SEEDS, dtype=np.uint32)
    write_tables(dense, GridIndex(samples, seeds, RowOrder.SEED_MAJOR), None)
    description = Description(
        teacher=DIGEST,
        teacher_name="none",
        dataset=DIGEST,
        num_classes=CLASSES,
        class_list=DIGEST,
        policy=AugmentationPolicy(view_height=4, view_width=4),
        label_kind=LabelKind.LOGITS,
        temperature=None,
    )
    (dense / DESCRIPTION_NAME).write_bytes(description.to_bytes())
    protocol = Protocol(name="tiny", num_classes=CLASSES, views=SEEDS, fit_steps=150)
    return Task(protocol, directory)


def unseen_kl(codec: BenchmarkCodec, task: Task) -> float:
    kl = fidelity.measure(codec, task, task.unseen_rows())["kl_nats"]
    assert kl is not None
    return kl


def kl_of_the_mean_label(task: Task) -> float:
    fitted = np.concatenate([labels for _, labels in task.labels(task.fitted_rows())])
    mean = np.broadcast_to(fitted.astype(np.float32).mean(axis=0), (SAMPLES, CLASSES)).copy()
    rows, labels = next(iter(task.labels(task.unseen_rows()[:SAMPLES])))
    assert len(rows) == SAMPLES
    return float(fidelity.compare(labels, mean, LabelKind.LOGITS)[:, 0].mean())


def test_the_split_holds_out_whole_seeds(task: Task) -> None:
    seeds = set((task.unseen_rows() // SAMPLES).tolist())
    assert seeds == {5, 11}
    assert not set(task.fitted_rows().tolist()) & set(task.unseen_rows().tolist())
    assert len(task.fitted_rows()) + len(task.unseen_rows()) == SAMPLES * SEEDS


@pytest.mark.parametrize("limit", [SAMPLES, 2 * SAMPLES * SEEDS])
def test_what_learns_rows_by_heart_is_chosen_by_others(task: Task, limit: int) -> None:
    by, learnt = task.choice_rows(), task.rows_beside_choice(limit)
    assert len(by) == len(task.fitted_rows()) // 4
    assert len(learnt) == min(limit, len(task.fitted_rows()) - len(by))
    assert not set(by.tolist()) & set(learnt.tolist())
    assert set(by.tolist()) | set(learnt.tolist()) <= set(task.fitted_rows().tolist())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_faiss_codec_is_not_chosen_by_what_its_codewords_know_by_heart(task: Task) -> None:
    given = FitInput(task, task.directory / "fit")
    codec = fit_faiss(given, method=Method.RESIDUAL, codes=2, features=(Feature.CENTRED,))
    chosen_by = codec.choice["kl_on_fitted_rows"][codec.choice["chosen"]]
    learnt = fidelity.measure(codec, task, task.choice_rows())["kl_nats"]
    assert learnt is not None
    # It was fitted to all rows in the end, those by which it was chosen among them.
    assert chosen_by > 1.2 * learnt


@pytest.mark.parametrize(("bits", "bound"), [(8, 1e-3), (4, 0.05), (2, 1.0)])
def test_uniform_rows_have_their_size_and_come_back(task: Task, bits: int, bound: float) -> None:
    codec = Uniform(CLASSES, bits=bits, reach=math.inf)
    rows, labels = next(iter(task.labels(task.unseen_rows())))
    packed = codec.encode(labels, rows)
    assert packed.shape == (len(rows), CLASSES * bits // 8 + 4)
    step = np.ptp(labels.astype(np.float32), axis=1, keepdims=True) / (2**bits - 1)
    assert (np.abs(codec.decode(packed, rows) - labels) <= 0.51 * step + 0.02).all()
    assert unseen_kl(codec, task) < bound


def test_a_label_without_differences_survives_uniform_quantization() -> None:
    codec = Uniform(CLASSES, bits=4, reach=8.0)
    labels = np.full((1, CLASSES), 3.0, dtype=np.float16)
    rows = np.zeros(1, dtype=np.int64)
    np.testing.assert_array_equal(codec.decode(codec.encode(labels, rows), rows), labels)


def test_top_k_costs_four_bytes_a_class_and_renormalising_costs_an_infinite_kl(task: Task) -> None:
    rows, labels = next(iter(task.labels(task.unseen_rows())))
    for recovery in (Recovery.SPREAD, Recovery.RENORMALISE):
        codec = TopK(CLASSES, k=5, recovery=recovery)
        assert codec.encode(labels, rows).shape[1] == 20
        measured = fidelity.measure(codec, task, task.unseen_rows())
        assert measured["top1_agreement"] == 1.0
        assert (measured["kl_nats"] is None) == (recovery is Recovery.RENORMALISE)


@pytest.mark.parametrize("feature", list(Feature))
def test_features_lead_back_to_the_softmax(feature: Feature) -> None:
    logits = np.random.default_rng(1).normal(size=(20, CLASSES)).astype(np.float32)
    rows = fidelity.compare(logits, feature.logits(feature.of(logits)), LabelKind.LOGITS)
    assert rows.shape == (20, 4)
    assert abs(float(rows[:, 0].sum())) < 1e-4


class _Softer(Task):
    temperature = 4.0


@pytest.mark.parametrize("feature", list(Feature))
def test_features_of_softer_labels_lead_back_to_the_teachers_logits(
    task: Task, feature: Feature
) -> None:
    basis = fit_basis(_Softer(task.protocol, task.directory), feature, CLASSES)
    _, labels = next(task.labels(task.unseen_rows()))
    decoded = basis.restore(basis.project(labels))
    assert float(fidelity.compare(labels, decoded, LabelKind.LOGITS)[:, 0].mean()) < 0.01
    softer = basis.feature.of(labels / np.float16(4))
    np.testing.assert_allclose(basis.mean, softer.mean(axis=0), atol=0.3)


def test_low_rank_keeps_labels_of_that_rank(task: Task) -> None:
    codec = fit_low_rank(FitInput(task, task.directory / "fit"), size=3)
    rows, labels = next(iter(task.labels(task.unseen_rows())))
    assert codec.encode(labels, rows).shape[1] == 3
    assert codec.codec_bytes == 2 * (CLASSES + 3 * CLASSES) + 4 * 3
    assert unseen_kl(codec, task) < 0.05
    assert codec.choice["chosen"] in set(Feature)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("method", list(Method))
def test_faiss_codecs_come_back(task: Task, method: Method) -> None:
    given = FitInput(task, task.directory / "fit")
    codec = fit_faiss(given, method=method, codes=2, features=tuple(Feature))
    rows, labels = next(iter(task.labels(task.unseen_rows())))
    packed = codec.encode(labels, rows)
    assert packed.dtype == np.uint8
    assert packed.shape[1] == 2
    assert codec.codec_bytes > 0
    assert unseen_kl(codec, task) < 0.5 * kl_of_the_mean_label(task)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_faiss_codec_is_chosen_from_the_features_that_it_is_allowed(task: Task) -> None:
    given = FitInput(task, task.directory / "fit")
    codec = fit_faiss(given, method=Method.PRODUCT, codes=2, features=(Feature.ROOT,))
    assert {name.split(",")[0] for name in codec.choice["kl_on_fitted_rows"]} == {Feature.ROOT}
    assert codec.choice["chosen"].startswith(Feature.ROOT)


def test_the_library_vqae_learns(task: Task) -> None:
    # Imported for seconds, by every process that collects the tests.
    from benchmarks.codec.library_vqae import fit_library_vqae

    codec = fit_library_vqae(FitInput(task, task.directory / "fit"), codes=2)
    rows, labels = next(iter(task.labels(task.unseen_rows())))
    packed = codec.encode(labels, rows)
    assert packed.dtype == np.uint8
    assert packed.shape[1] == 2
    np.testing.assert_array_equal(codec.decode(packed, rows), codec.decode(packed, rows))
    assert unseen_kl(codec, task) < 0.5 * kl_of_the_mean_label(task)


def test_fidelity_against_a_divergence_worked_out_by_hand() -> None:
    teacher: NDArray[np.float32] = np.log(np.array([[0.5, 0.5]], dtype=np.float32))
    decoded = np.array([[0.25, 0.75]], dtype=np.float32)
    (row,) = fidelity.compare(teacher, decoded, LabelKind.PROBABILITIES).tolist()
    kl, reverse, top1, top5 = row
    assert kl == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(0.5 / 0.75), abs=1e-6)
    assert reverse == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5), abs=1e-6)
    assert (top1, top5) == (0.0, 1.0)
    twice, logits = 2 * teacher, 2 * np.log(decoded)
    (softer,) = fidelity.compare(twice, logits, LabelKind.LOGITS, temperature=2.0).tolist()
    assert softer == pytest.approx(row, abs=1e-6)
    with pytest.raises(ValueError, match="probabilities at temperature 1 are none at 2"):
        fidelity.compare(twice, decoded, LabelKind.PROBABILITIES, temperature=2.0)


def test_the_interval_is_students() -> None:
    # For two values the quantile is 12.706 and the standard error half their difference.
    assert arithmetic.half_width([0.8, 0.9]) == pytest.approx(12.7062 * 0.05, rel=1e-4)
    assert arithmetic.half_width([0.9]) is None


def test_retention_pairs_seeds() -> None:
    assert arithmetic.paired_ratios({0: 0.45, 1: 0.4, 7: 1.0}, {1: 0.8, 0: 0.9}) == [0.5, 0.5]


def test_share_of_gain() -> None:
    dense = {0: 0.9, 1: 0.9, 2: 0.1}
    assert arithmetic.share_of_gain({0: 0.85, 1: 0.85}, dense, 0.8) == pytest.approx(0.5)
    assert arithmetic.share_of_gain({0: 0.85}, dense, 0.95) is None
    assert arithmetic.share_of_gain({5: 0.85}, dense, 0.8) is None


def test_totals_count_what_is_stored_once() -> None:
    total = arithmetic.total_bytes(
        payload=8, sample_bytes=12, views=60, codec_bytes=1_000_000, labels=10_000_000
    )
    assert total == pytest.approx(8 + 0.2 + 0.1)


def units(directory: Path, point: str, students: int) -> list[Unit]:
    names = ["codec", *(f"student-{seed}" for seed in range(students))]
    home = directory / point
    return [Unit(point, name, home, home / "labels.npy") for name in names]


class Worker:
    """Does units at once; may die or fail at one of them."""

    def __init__(self, *, dies_at: int | None = None, fails: Sequence[str] = ()) -> None:
        self.done: list[str] = []
        self._dies_at = dies_at
        self._fails = fails

    def __call__(self, unit: Unit) -> Future[dict[str, Any]]:
        if len(self.done) == self._dies_at:
            raise KeyboardInterrupt
        future: Future[dict[str, Any]] = Future()
        name = f"{unit.point} {unit.name}"
        if name in self._fails:
            future.set_exception(ValueError("no"))
            return future
        self.done.append(name)
        if unit.name == "codec":
            assert unit.scratch is not None
            unit.directory.mkdir(parents=True, exist_ok=True)
            unit.scratch.write_text("labels")
        write_result(unit.result, {"name": unit.name})
        future.set_result({"name": unit.name})
        return future


def test_an_interrupted_queue_goes_on_where_it_was(tmp_path: Path) -> None:
    points = [units(tmp_path, "a", 2), units(tmp_path, "b", 1)]
    first = Worker(dies_at=2)
    with pytest.raises(KeyboardInterrupt):
        run(points, first, jobs=1, tell=lambda _: None)
    assert first.done == ["a codec", "a student-0"]
    told: list[Finished] = []
    second = Worker()
    assert run(points, second, jobs=1, tell=told.append) == 0
    assert second.done == ["a student-1", "b codec", "b student-0"]
    assert [(one.position, one.total) for one in told] == [(1, 3), (2, 3), (3, 3)]
    assert not list(tmp_path.rglob("labels.npy"))
    third = Worker()
    assert run(points, third, jobs=1, tell=told.append) == 0
    assert third.done == []


def test_what_the_first_unit_wrote_is_made_again_if_students_are_added(tmp_path: Path) -> None:
    run([units(tmp_path, "a", 1)], Worker(), jobs=1, tell=lambda _: None)
    more = units(tmp_path, "a", 2)
    assert [unit.name for unit in missing(more)] == ["codec", "student-1"]


def test_students_wait_for_their_labels_and_others_do_not(tmp_path: Path) -> None:
    started: list[str] = []
    pending: list[Future[dict[str, Any]]] = []

    def start(unit: Unit) -> Future[dict[str, Any]]:
        started.append(f"{unit.point} {unit.name}")
        future: Future[dict[str, Any]] = Future()
        pending.append(future)
        if len(pending) == 2:
            for waiting in pending:
                waiting.set_result({})
        elif len(pending) > 2:
            future.set_result({})
        return future

    run([units(tmp_path, "a", 1), units(tmp_path, "b", 1)], start, jobs=2, tell=lambda _: None)
    assert started[:2] == ["a codec", "b codec"]


def test_a_point_that_fails_stops_no_other(tmp_path: Path) -> None:
    points = [units(tmp_path, "a", 2), units(tmp_path, "b", 1)]
    worker = Worker(fails=["a codec"])
    told: list[Finished] = []
    assert run(points, worker, jobs=1, tell=told.append) == 1
    assert worker.done == ["b codec", "b student-0"]
    assert isinstance(told[0].error, ValueError)
