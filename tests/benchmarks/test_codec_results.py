"""What codec.json derives from accuracies, and how its points are merged."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from benchmarks.codec import arithmetic, results
from benchmarks.codec.catch_up import catch_up
from labelcast.identifiers import digest_from_hash

DIGEST = digest_from_hash(bytes(32))


def record(codec: str, family: str, payload: int, top1: dict[int, float]) -> dict[str, Any]:
    return {
        "task": "tiny",
        "teacher": DIGEST,
        "codec": codec,
        "family": family,
        "ours": family.startswith("vqae"),
        "labels": 720,
        "views_per_sample": 12,
        "bytes_per_label": payload,
        "payload_bytes_per_label": payload,
        "codec_bytes": 720,
        "sample_bytes": 12,
        "top1_per_seed": {str(seed): value for seed, value in top1.items()},
    }


def example() -> list[dict[str, Any]]:
    return [
        record("dense", "dense", 24, {0: 0.9, 1: 0.8}),
        record("hard-mixed", "hard-mixed", 0, {0: 0.5, 1: 0.4}),
        record("hard-unmixed", "hard-unmixed", 0, {0: 0.6, 1: 0.5}),
        record("pq-4", "pq", 4, {0: 0.7}),
        record("pq-8", "pq", 8, {0: 0.88}),
        record("pca-8", "pca", 8, {0: 0.6}),
        record("vqae-1", "vqae", 1, {0: 0.85, 1: 0.8}),
    ]


def test_derived_figures() -> None:
    result = results.derive(example(), ["dense", "vqae-1"])
    by_name = {point["codec"]: point for point in result["points"]}
    ours, rival = by_name["vqae-1"], by_name["pq-8"]
    assert ours["retention"] == pytest.approx((0.85 / 0.9 + 1) / 2)
    assert rival["retention"] == pytest.approx(0.88 / 0.9)
    assert rival["share_of_gain"] == pytest.approx((0.88 - 0.55) / (0.9 - 0.55))
    assert ours["total_bytes_per_label"]["here"] == pytest.approx(1 + 1 + 1)
    assert ours["total_bytes_per_label"]["10000000"] == pytest.approx(2.000072)
    ceiling = result["tasks"]["tiny"]["ceiling"]
    assert ceiling["top1"] == pytest.approx(0.85)
    assert ceiling["top1_seed_deviation"] == pytest.approx(0.1 / math.sqrt(2))
    assert [point["codec"] for point in result["points"]][:2] == ["dense", "vqae-1"]
    json.dumps(result, allow_nan=False)


def test_derived_figures_can_be_derived_again() -> None:
    order = ["dense", "pq-4"]
    once = results.derive(example(), order)
    assert results.derive(once["points"], order) == once


def test_catching_up_is_the_least_rate_that_reaches_ours() -> None:
    points = results.derive(example(), [])["points"]
    found = {one["family"]: one for one in catch_up(points)}
    assert found["pq"] == {
        "target": "vqae-1",
        "family": "pq",
        "bytes_per_label": 8,
        "largest_tried": 8,
    }
    assert found["pca"]["bytes_per_label"] is None
    assert "dense" not in found


def test_measured_points_replace_committed_ones_and_spare_the_rest() -> None:
    committed = [record("pq-4", "pq", 4, {0: 0.1}), record("old", "old", 1, {0: 0.2})]
    merged = results.merge(committed, [record("pq-4", "pq", 4, {0: 0.7})])
    assert [(one["codec"], one["top1_per_seed"]["0"]) for one in merged] == [
        ("pq-4", 0.7),
        ("old", 0.2),
    ]


def test_points_of_another_teacher_are_not_compared_with_this_one() -> None:
    other = record("pq-4", "pq", 4, {0: 0.7}) | {"teacher": "sha256:" + "1" * 64}
    result = results.derive([*example()[:3], other], [])
    assert next(one for one in result["points"] if one["codec"] == "pq-4")["retention"] is None
    assert "pq-4" not in {point["codec"] for point in arithmetic.points_of(result, "tiny")}
