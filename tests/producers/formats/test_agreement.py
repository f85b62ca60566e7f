"""Labels in a wrong order are told from labels of an uncertain teacher, by many sets at random."""

import numpy as np
import pytest
from numpy.typing import NDArray

from labelcast_producers.formats.shared.agreement import RISK, Fit, class_ranks

SETS, VIEWS, CLASSES = 400, 96, 10
Classes = NDArray[np.int64]
Values = NDArray[np.float64]


def mixed(rng: np.random.Generator, noise: float) -> tuple[Values, Classes, Values]:
    """Labels of an epoch of three batches, each mixed by one λ: classes and weights, (n, 2)."""
    lam = np.repeat(rng.random(3), VIEWS // 3)
    shares = np.stack([lam, 1 - lam], axis=1)
    classes = rng.integers(0, CLASSES, (VIEWS, 2))
    clean = (np.eye(CLASSES)[classes] * shares[:, :, None]).sum(axis=1)
    favourites = 3 * np.arange(CLASSES)
    labels = 3 * clean + favourites + noise * rng.normal(size=clean.shape)
    return labels, classes, shares


def fits(noise: float, *, right: bool) -> list[Fit]:
    found = []
    for seed in range(SETS):
        rng = np.random.default_rng(seed)
        labels, classes, shares = mixed(rng, noise)
        order = np.arange(VIEWS) if right else rng.permutation(VIEWS)
        found.append(Fit.of(class_ranks(labels), classes[order], shares[order]))
    return found


@pytest.mark.parametrize("noise", [0.0, 1.0, 4.0, 30.0])
def test_labels_in_their_order_are_not_taken_for_fallen(noise: float) -> None:
    every = fits(noise, right=True)
    fallen = [
        fit.has_fallen_from(every[number - 1] + every[number - 2], risk=RISK / 3)
        for number, fit in enumerate(every)
    ]
    assert not any(fallen)


@pytest.mark.parametrize(("noise", "least"), [(0.0, 0.97), (1.0, 0.8), (30.0, 0.0)])
def test_labels_in_another_order_are_chance(noise: float, least: float) -> None:
    right, wrong = (fits(noise, right=each) for each in (True, False))
    # One in a thousand, as the risk says.
    assert sum(fit.is_borne_out for fit in wrong) <= 3
    errors = np.array([fit.errors for fit in wrong])
    assert abs(errors.mean()) < 0.2
    assert 0.8 < errors.std() < 1.2
    fallen = [
        fit.has_fallen_from(right[number - 1] + right[number - 2], risk=RISK / 3)
        for number, fit in enumerate(wrong)
    ]
    assert np.mean(fallen) >= least


def test_classes_that_are_unknown_count_for_nothing() -> None:
    labels, classes, shares = mixed(np.random.default_rng(0), 1.0)
    ranks = class_ranks(labels)
    classes[5] = -1
    assert Fit.of(ranks, classes, shares).rows == VIEWS - 1
    assert Fit.of(ranks, np.full_like(classes, -1), shares) == Fit()
    assert Fit.of(class_ranks(labels[:, :1]), classes, shares) == Fit()
