"""LPLD: SRe2L's files, pruned, with a list of their samples."""

from labelcast_producers.formats.batches.base import BatchImporter, Numbered
from labelcast_producers.formats.batches.layout import Kind, Layout
from labelcast_producers.formats.batches.projects.sample_ids import ids_from_list
from labelcast_producers.formats.batches.record import Signature
from labelcast_producers.formats.batches.samples import KnownSamples
from labelcast_producers.formats.batches.scanning import Scan
from labelcast_producers.formats.source import ImportOptions


class LPLDImporter(BatchImporter):
    """Importer of SRe2L's files, pruned, with a list of every epoch's samples."""

    name = "lpld"
    title = "LPLD: pruned teacher logits by epoch and batch, with sample IDs"
    kind = Kind.EPOCH_DIRECTORIES
    needs_ids_file = True

    def fits(self, layout: Layout, signature: Signature) -> bool:
        """See `BatchImporter.fits`."""
        return signature.is_plain and (layout.is_lplds or signature.cutout)

    def number(
        self, layout: Layout, scanned: Scan, known: KnownSamples, options: ImportOptions
    ) -> Numbered:
        """See `BatchImporter.number`."""
        # Batches go by epoch and number. The producer's loader looks them up by their first sample,
        # which several batches share: for some of them it finds another batch's labels.
        return ids_from_list(layout, scanned)
