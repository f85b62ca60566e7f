"""Whether imported labels name what their views show: with a wrong order of samples they do not."""

import numpy as np

from labelcast.augmentation import RecordedPolicy
from labelcast.label_set_directory import LabelSetDirectory
from labelcast_producers.dense.labels import DenseLabels
from labelcast_producers.formats.source import SourceFacts

_ROWS = 512


def first_and_last_agreement(
    facts: SourceFacts, result: DenseLabels | LabelSetDirectory
) -> tuple[float, float] | None:
    """How often labels name a class shown in their view, under the first and the last seed.

    Orders that are derived from a sampler's seed agree in the first epoch whatever torch drew, so a
    drop shows that later ones were drawn differently.

    Args:
        facts: facts of the source.
        result: its labels, as they were written.

    Returns:
        None if hard labels are unknown, or there is only one seed.
    """
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
