"""What follows from the ImageNet benchmark's students: shares, measures, plot and budget."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.imagenet.budget_table import budget_table
from benchmarks.imagenet.parts import TESTED, Part
from benchmarks.imagenet.plot import write_plot
from benchmarks.imagenet.results import derive, merged
from benchmarks.imagenet.shares import share_ahead, share_kept, sums_by_seed

COMMITTED = Path(__file__).parents[2] / "benchmarks" / "results" / "imagenet.json"


def test_a_share_is_of_the_gain_and_its_interval_is_over_things() -> None:
    hard, dense = np.array([[6.0, 2.0], [6.0, 2.0]]), np.array([[2.0, 2.0], [2.0, 2.0]])
    assert share_kept(dense, hard, dense) == (1.0, (1.0, 1.0))
    assert share_kept(hard, hard, dense) == (0.0, (0.0, 0.0))
    half = np.array([[4.0, 2.0], [4.0, 2.0]])
    # The second photograph taught nobody anything: without the first there is no share.
    assert share_kept(half, hard, dense) == (0.5, (0.5, 0.5))
    uneven = np.array([[2.0, 3.0], [2.0, 3.0]])
    assert share_kept(uneven, hard, dense) == (0.75, (0.75, 1.0))
    assert share_kept(dense, dense, hard) == (None, None)
    assert share_ahead(dense, half, hard, dense) == (0.5, (0.5, 0.5))


def test_an_interval_is_over_seeds_and_things() -> None:
    hard, dense = np.full((3, 4), 6.0), np.full((3, 4), 2.0)
    by_seed = np.array([[2.0], [4.0], [6.0]]).repeat(4, axis=1)
    # Shares of 1, a half and 0: Student's t of three, 4.30, times their standard error.
    share, interval = share_kept(by_seed, hard, dense)
    assert share == 0.5
    assert interval == pytest.approx((0.5 - 1.242, 0.5 + 1.242), abs=1e-3)
    # Of things alone the interval is 0.75 to 1; what seeds add goes in quadrature.
    uneven = np.array([[2.0, 3.0], [2.0, 5.0]])
    both, dense_of_both = np.array([[6.0, 2.0]] * 2), np.full((2, 2), 2.0)
    share, interval = share_kept(uneven, both, dense_of_both)
    assert share == 0.5
    assert interval is not None
    assert interval[1] == pytest.approx(0.5 + np.hypot(0.5, 12.706 * 0.25), abs=1e-3)
    assert share_kept(by_seed[:1], hard[:1], dense[:1]) == (1.0, None)
    # Two photographs of one thing are drawn together.
    students = [{"seed": 0, "held-out": {"kl_by_photograph": [2.0, 6.0, 4.0]}}]
    (sums,) = sums_by_seed(students, Part.HELD_OUT, [0, 0, 1]).values()
    assert sums.tolist() == [8.0, 4.0]


def compared(kl: float) -> dict[str, Any]:
    return {"kl": kl, "top1": 0.2, "top5": 0.4, "kl_by_photograph": [kl, kl]}


def made(
    name: str,
    size: float,
    kl: float,
    *,
    known: float | None = None,
    ours: bool = False,
    seeds: int = 3,
    temperature: float = 1.0,
) -> Any:
    """A record as the work directory gives it; its students have one KL on all of a part."""
    by_part = {"held-out": compared(kl), "known-things": compared(kl if known is None else known)}
    fidelity = {"kl_nats": 0.1, "top1_agreement": 0.9}
    return {
        "codec": name,
        "title": name,
        "ours": ours,
        "recipe": "sre2l",
        "temperature": temperature,
        "decoded": name not in ("dense", "hard"),
        "bytes_per_label": size,
        "payload_bytes_per_label": 8,
        "views_with_labels": 1.0,
        "codec_bytes": 1_000_000,
        "fit_seconds": 60.0,
        "unseen": fidelity,
        "fitted": fidelity,
        "kl_unseen": 0.1,
        "kl_fitted": 0.1,
        "students": {"resnet": [{"seed": seed} | by_part for seed in range(seeds)]},
    }


def derived(points: list[Any]) -> Any:
    """The result of these points, and of a mean label at 4 nats."""
    protocol = {"labels": 75_000, "tested": {"held-out": {"crops": 9_000}}}
    mean_label = {str(part): compared(4.0) for part in TESTED}
    things = {str(part): [0, 1] for part in TESTED}
    return derive(
        {"protocol": protocol, "mean_label": mean_label, "things": things, "points": points}
    )


def test_measures_take_the_best_rival_of_no_more_bytes() -> None:
    points = [
        made("dense", 2000, 3.0),
        made("hard", 0, 7.0),
        made("vqae-8", 8, 3.04, known=3.0, ours=True),
        made("vqae-2", 2, 3.2, ours=True),
        made("rq-8", 8, 3.08, known=3.2),
        made("vqae-8-few", 1.5, 3.1),
        made("topk-renormalise-5", 20, 3.01),
        made("vqae-8-t2", 8, 2.96, ours=True, temperature=2.0),
        made("rq-8-t2", 8, 2.92, temperature=2.0),
    ]
    result = derived(points)
    at_8 = next(point for point in result["points"] if point["codec"] == "vqae-8")
    of_8 = at_8["by_architecture"]["resnet"]
    assert of_8["held-out"]["share_kept_of_mean"] == pytest.approx(0.96)
    assert of_8["known-things"]["share_kept"] == pytest.approx(1.0)
    measures = result["measures"]
    kept, _, at_2, ahead_8, _, ahead_2, softer, known_8, _, known_2, _, kl, labels, crops = measures
    assert (kept["ours"], kept["reached"]) == (pytest.approx(99.0), True)
    assert (at_2["ours"], at_2["reached"]) == (pytest.approx(95.0), True)
    assert (ahead_8["rival"], ahead_8["reached"]) == ("rq-8", True)
    assert ahead_8["ours"] == pytest.approx(1.0)
    assert (ahead_2["rival"], ahead_2["reached"]) == ("vqae-8-few", False)
    assert ahead_2["ours"] == pytest.approx(-2.5)
    assert (softer["rival"], softer["ours"]) == ("rq-8-t2", pytest.approx(-1.0))
    assert (known_8["rival"], known_8["ours"]) == ("vqae-8-few", pytest.approx(2.5))
    assert (known_2["rival"], known_2["reached"]) == ("vqae-8-few", False)
    assert (kl["ours"], kl["reached"]) == (pytest.approx(100), True)
    assert (labels["reached"], crops["reached"]) == (True, False)


def test_what_is_committed_follows_from_its_students() -> None:
    committed = json.loads(COMMITTED.read_text())
    again = json.loads(json.dumps(derive(committed)))
    assert again["measures"] == committed["measures"]
    assert again["points"] == committed["points"]


def test_points_that_take_as_many_bytes_are_all_drawn(tmp_path: Path) -> None:
    points = [
        made("dense", 2000, 3.0),
        made("hard", 0, 7.0),
        made("vqae-8", 8, 3.04, ours=True),
        made("rq-8", 8, 3.08),
        made("pq-8", 8, 3.1, seeds=0),
    ]
    result = derived(points)
    write_plot(result, tmp_path / "plots" / "imagenet.svg")
    drawn = (tmp_path / "plots" / "imagenet.svg").read_text()
    for name in ("dense", "vqae-8", "rq-8"):
        assert f"<!-- {name} -->" in drawn
    assert "<!-- pq-8 -->" not in drawn


def test_committed_points_are_kept_unless_as_many_students_are_there(tmp_path: Path) -> None:
    path, protocol = tmp_path / "imagenet.json", {"labels": 1}
    before = {"protocol": protocol, "points": [made("dense", 2000, 3.0), made("hard", 0, 7.0)]}
    path.write_text(json.dumps(before))
    now = [made("dense", 2000, 2.9), made("hard", 0, 6.0, seeds=1), made("pq-8", 8, 3.0)]
    result = merged(path, {"protocol": protocol, "points": now})
    first = {
        point["codec"]: point["students"]["resnet"][0]["held-out"]["kl"]
        for point in result["points"]
    }
    assert first == {"dense": 2.9, "hard": 7.0, "pq-8": 3.0}
    others = merged(path, {"protocol": {"labels": 2}, "points": now})
    assert others["points"] == now


def test_the_budget_is_that_of_the_measured_codec() -> None:
    shares = {part: {"share_kept": 0.99} for part in TESTED}
    point = made("vqae-8", 8, 3.0, ours=True) | {
        "share_kept": 0.99,
        "by_architecture": {"resnet": shares},
    }
    table = budget_table({"points": [point]})
    (ours,) = (line for line in table.splitlines() if line.startswith("| vqae-8, 300 views"))
    # 10,000 images × 300 views × 8 bytes are 22.9 MiB, and the codec is a million bytes.
    assert "| 24.0 MiB |" in ours
    assert ours.endswith("| 99.0% | 99.0% |")
    assert "| LPQLD 200×: top-10, 30 views | 29.1 MiB | 147 MiB |" in table
