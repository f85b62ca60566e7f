"""A stream of codes that come from the cache or the service, and from either to the other.

A change happens between two batches, so that neither order nor number of the batches depends on it.
"""

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator

from labelcast.opening.delivered import DeliveredLabels
from labelcast.plans import Plan, PlanBatches, SequencePlan
from labelcast.remote.node_cache.kept_codes import KeptCodes
from labelcast.views import Views

AskService = Callable[[Iterable[Views]], Generator[DeliveredLabels]]


def stream_codes(
    kept: KeptCodes, batches: Iterable[Views], ask: AskService
) -> Generator[DeliveredLabels]:
    """Read codes of many batches, in order.

    Args:
        kept: codes of the label set in the cache.
        batches: batches of views, read lazily; of a plan, all rows to the plan's end count as
            wanted, since a loop that counts epochs streams them one by one.
        ask: streams codes of batches from the service.
    """
    if isinstance(batches, PlanBatches):
        return _planned(kept, batches, ask)
    return _listed(kept, batches, ask)


def _planned(
    kept: KeptCodes, batches: PlanBatches[Plan] | PlanBatches[SequencePlan], ask: AskService
) -> Generator[DeliveredLabels]:
    row = batches.start
    if kept.decide(len(batches.plan) - row):
        for views in batches:
            labels = kept.read(views)
            if labels is None:
                break
            yield labels
            row += len(views)
    if row < batches.stop:
        with contextlib.closing(ask(batches.rest(row))) as asked:
            for labels in asked:
                kept.count_asked(len(labels.rows))
                yield labels


def _listed(
    kept: KeptCodes, batches: Iterable[Views], ask: AskService
) -> Generator[DeliveredLabels]:
    rest = _Rest(kept, batches)
    while True:
        if kept.decide():
            for views in rest.batches:
                labels = kept.read(views)
                if labels is None:
                    rest.first = views
                    break
                yield labels
            else:
                return
        with contextlib.closing(ask(rest)) as asked:
            yield from asked
        if rest.ended:
            return


class _Rest(Iterator[Views]):
    """Batches that are left for the service; ends early where whole shards pay.

    Args:
        kept: codes in the cache, which count what is asked for.
        batches: the caller's batches.

    Attributes:
        batches: those that are left of them.
        first: batch that comes before them.
        ended: whether the caller's batches have ended.
    """

    def __init__(self, kept: KeptCodes, batches: Iterable[Views]) -> None:
        self.batches = iter(batches)
        self.first: Views | None = None
        self.ended = False
        self._kept = kept

    def __next__(self) -> Views:
        if self.first is None and self._kept.would_change():
            raise StopIteration
        views, self.first = self.first, None
        if views is None:
            try:
                views = next(self.batches)
            except StopIteration:
                self.ended = True
                raise
        # Whoever asks refuses what is no batch.
        if isinstance(views, Views):
            self._kept.count_asked(len(views))
        return views
