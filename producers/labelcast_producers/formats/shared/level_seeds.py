"""Whether labels of every seed fit the images that files say they are of."""

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import RecordedPolicy
from labelcast.errors import LabelFileError
from labelcast_producers.formats.shared.agreement import RISK, Fit, class_ranks
from labelcast_producers.formats.source import Source

# Of each seed.
_VIEWS = 128


def require_level_seeds(source: Source) -> None:
    """Refuse labels that fit the classes of their images under some seeds, and not under others.

    Reads some labels of every seed; does nothing where the classes of images are unknown, or there
    is only one seed.

    Args:
        source: whose files name their samples.

    Raises:
        LabelFileError: names the first seed whose labels do not.
    """
    facts = source.facts
    index, hard = facts.index, facts.hard_labels
    if hard is None or len(index.seeds) < 2:
        return
    views = index.views()
    rows, labels = _some_rows(source, np.searchsorted(index.seeds, views.seeds))
    samples = views.sample_ids[rows][:, None]
    shares = np.ones((len(rows), 1))
    records = source.records()
    if records is not None and isinstance(facts.policy, RecordedPolicy):
        samples = np.concatenate([samples, records.partner_sample_ids[rows][:, None]], axis=1)
        lam = records.lam[rows].astype(np.float64)
        shares = np.stack([lam, 1 - lam], axis=1)
    classes = hard[np.searchsorted(index.sample_ids, samples)]
    seeds = views.seeds[rows]
    own = {int(seed): seeds == seed for seed in index.seeds}
    fits = {
        seed: Fit.of(class_ranks(labels[chosen]), classes[chosen], shares[chosen])
        for seed, chosen in own.items()
        if chosen.any()
    }
    every = sum(fits.values(), Fit())
    for seed, fit in fits.items():
        others = Fit(every.rows - fit.rows, every.total - fit.total, every.variance - fit.variance)
        if fit.has_fallen_from(others, risk=RISK / len(fits)):
            raise LabelFileError(
                f"{source.parts[0].path.parent}: labels of seed {seed} fit the classes of the"
                f" images that they show no better than chance ({fit.errors:.1f} standard errors,"
                f" {fit.rows} views), those of other seeds do ({others.errors:.1f}): the images are"
                " probably not those that were labelled, or in another order, or some files are of"
                " another run: check the files, --images and --image-list, or have the teacher"
                " confirm the order (--verify-with)"
            )


def _some_rows(
    source: Source, seed_of: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rows of parts chosen at random, as many of each seed, and their labels."""
    random = np.random.default_rng(0)
    wanted = np.full(len(source.facts.index.seeds), _VIEWS)
    rows, labels = [], []
    for number in random.permutation(len(source.parts)):
        part = source.parts[int(number)]
        if not (wanted[seed_of[part.rows]] > 0).any():
            continue
        places = random.permutation(len(part.rows))
        places = places[np.argsort(seed_of[part.rows[places]], kind="stable")]
        seeds = seed_of[part.rows[places]]
        among_its_seed = np.arange(len(seeds)) - np.searchsorted(seeds, seeds)
        places = places[among_its_seed < wanted[seeds]]
        np.subtract.at(wanted, seed_of[part.rows[places]], 1)
        rows.append(part.rows[places])
        labels.append(source.read(part)[places].astype(np.float32))
    return np.concatenate(rows), np.concatenate(labels)
