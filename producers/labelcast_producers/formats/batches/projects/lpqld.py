"""LPQLD: numbered batches, mostly of top-k logits, with a list of their samples."""

from labelcast_producers.formats.batches.base import BatchImporter, Numbered, require_ids_file
from labelcast_producers.formats.batches.layout import Kind, Layout
from labelcast_producers.formats.batches.numbering import greedy_seeds, ids_by_batch
from labelcast_producers.formats.batches.orders import read_orders
from labelcast_producers.formats.batches.record import Signature
from labelcast_producers.formats.batches.samples import KnownSamples
from labelcast_producers.formats.batches.scanning import Scan
from labelcast_producers.formats.source import ImportOptions


class LPQLDImporter(BatchImporter):
    """Importer of numbered batches of logits, top-k or all, with a list of each one's samples."""

    name = "lpqld"
    title = "LPQLD: pruned teacher logits by batch, mostly of the top k classes, with sample IDs"
    kind = Kind.FLAT
    needs_ids_file = True

    def fits(self, layout: Layout, signature: Signature) -> bool:
        """See `BatchImporter.fits`."""
        return not (signature.sample_ids or signature.patches)

    def missing(self, layout: Layout, signature: Signature) -> tuple[str, ...]:
        """See `BatchImporter.missing`."""
        classes = (
            ("--class-names or --images: top-k labels do not say how many classes there are",)
            if signature.top_k
            else ()
        )
        return (*classes, *super().missing(layout, signature))

    def number(
        self, layout: Layout, scanned: Scan, known: KnownSamples, options: ImportOptions
    ) -> Numbered:
        """See `BatchImporter.number`."""
        ids_file = require_ids_file(layout)
        ids = list(ids_by_batch(scanned.batches, read_orders(ids_file), ids_file))
        note = (
            "the files name no epochs: a batch is under the first seed, from the one before it on,"
            " that has none of its samples yet"
        )
        return Numbered(ids, greedy_seeds(ids), (note,))
