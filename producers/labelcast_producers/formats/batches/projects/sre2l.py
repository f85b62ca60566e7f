"""SRe2L, and CDA and CV-DD, which store the same way: logits by epoch and batch."""

from labelcast.label_set import SampleOrder
from labelcast_producers.formats.batches.base import BatchImporter, Numbered
from labelcast_producers.formats.batches.layout import IDS_NAMES, Kind, Layout
from labelcast_producers.formats.batches.numbering import (
    count_samples,
    cut_epochs,
    derived_ids,
)
from labelcast_producers.formats.batches.order_check import DerivedOrder
from labelcast_producers.formats.batches.orders import sampler_orders
from labelcast_producers.formats.batches.projects.sample_ids import epoch_seeds
from labelcast_producers.formats.batches.record import Signature
from labelcast_producers.formats.batches.samples import KnownSamples
from labelcast_producers.formats.batches.scanning import Scan
from labelcast_producers.formats.source import ImportOptions

_BROKEN_OFF = (
    f"; if LPLD made these files, put the {IDS_NAMES[Kind.EPOCH_DIRECTORIES]} of this run there"
)


class SRe2LImporter(BatchImporter):
    """Importer of epochs of batches that name no samples: their order is drawn again."""

    name = "sre2l"
    title = "SRe2L / CDA / CV-DD: teacher logits by epoch and batch"
    kind = Kind.EPOCH_DIRECTORIES
    order = SampleOrder.UNVERIFIED

    def fits(self, layout: Layout, signature: Signature) -> bool:
        """See `BatchImporter.fits`."""
        return not layout.is_lplds and signature.is_plain and not signature.cutout

    def missing(self, layout: Layout, signature: Signature) -> tuple[str, ...]:
        """See `BatchImporter.missing`."""
        return (
            "--images, --image-list or --samples: how many samples there are",
            "--draws: of the producer's torch; --verify-with tells it",
            *super().missing(layout, signature),
        )

    def doubts(self) -> tuple[str, ...]:
        """See `BatchImporter.doubts`."""
        note = (
            "if CV-DD made these labels, its teacher may have used statistics of the batch: then no"
            " label can be made again alone"
        )
        return (note,)

    def number(
        self, layout: Layout, scanned: Scan, known: KnownSamples, options: ImportOptions
    ) -> Numbered:
        """See `BatchImporter.number`."""
        epochs = cut_epochs(scanned.batches, otherwise=_BROKEN_OFF)
        count = count_samples(epochs, known)
        assumed = known.count is None and count % epochs.batch_size == 0
        doubts = []
        if assumed:
            doubts.append(
                f"assumed {count} samples, as many as an epoch has views; if the producer dropped"
                " its last batch or stopped within the epoch, all sample IDs are wrong: give"
                " --images or --samples"
            )

        orders = sampler_orders(count, options.draws, options.sampler_seed)
        ids = list(derived_ids(epochs, orders, count))
        order = DerivedOrder(
            epochs=epochs,
            count=count,
            count_is_assumed=assumed,
            draws=options.draws,
            sampler_seed=options.sampler_seed,
        )
        return Numbered(ids, epoch_seeds(scanned), doubts=tuple(doubts), order=order)
