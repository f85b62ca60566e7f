"""Whether imported labels name what their views show: with a wrong order of samples they do not."""

import numpy as np

from labelcast.augmentation import RecordedPolicy
from labelcast.label_set import SampleOrder
from labelcast.label_set_directory import LabelSetDirectory
from labelcast_producers.dense.labels import DenseLabels
from labelcast_producers.formats.batches.layout import IDS_NAMES, Kind
from labelcast_producers.formats.source import SourceFacts

_ROWS = 512


def fallen_agreement(facts: SourceFacts, result: DenseLabels | LabelSetDirectory) -> str | None:
    """Whether labels name a class shown in their view under the first seed, and not the last.

    Orders that are derived from a sampler's seed agree in the first epoch whatever torch drew, so a
    drop shows that later ones were drawn differently.

    Args:
        facts: facts of the source.
        result: its labels, as they were written.

    Returns:
        One line that says so and what to do; None if they do, or if hard labels are unknown, or
        there is only one seed.
    """
    found = _first_and_last(facts, result)
    if found is None or found[1] >= found[0] / 2:
        return None
    advice = (
        "the images are probably not those that were labelled, or in another order: check --images"
        " and --image-list"
        if facts.order is SampleOrder.GIVEN
        else "the order of samples is probably wrong: try --draws one or two, or put the"
        f" {IDS_NAMES[Kind.EPOCH_DIRECTORIES]} of this run there if LPLD made these files"
    )
    return (
        f"labels of the first seed name a class that their view shows in {found[0]:.0%} of views,"
        f" those of the last in {found[1]:.0%}: {advice}, or --verify-with the teacher"
    )


def _first_and_last(
    facts: SourceFacts, result: DenseLabels | LabelSetDirectory
) -> tuple[float, float] | None:
    index, hard = facts.index, facts.hard_labels
    if hard is None or len(index.seeds) < 2:
        return None
    kept = result.records() if isinstance(result, LabelSetDirectory) else None
    every, found = index.views(), list[float]()
    for seed in (index.seeds[0], index.seeds[-1]):
        rows = np.flatnonzero(every.seeds == seed)[:_ROWS]
        views, recorded = every[rows], None
        if isinstance(result, LabelSetDirectory):
            labels = result.decoder().decode(result.gather(views), views)
            recorded = None if kept is None else kept.of(views)
        else:
            labels = result.rows.gather(rows).astype(np.float32)
            recorded = None if result.records is None else result.records[rows]
        shown = [views.sample_ids]
        if recorded is not None and isinstance(facts.policy, RecordedPolicy):
            shown.append(recorded.partner_sample_ids)
        classes = hard[np.searchsorted(index.sample_ids, np.stack(shown))]
        found.append(float((classes == labels.argmax(axis=1)).any(axis=0).mean()))
    return found[0], found[1]
