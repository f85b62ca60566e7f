"""G-VBSM: SRe2L's files with sample IDs."""

from labelcast_producers.formats.batches.base import BatchImporter, Numbered
from labelcast_producers.formats.batches.layout import Kind, Layout
from labelcast_producers.formats.batches.projects.sample_ids import ids_in_batches
from labelcast_producers.formats.batches.record import Signature
from labelcast_producers.formats.batches.samples import KnownSamples
from labelcast_producers.formats.batches.scanning import Scan
from labelcast_producers.formats.source import ImportOptions


class GVBSMImporter(BatchImporter):
    """Importer of SRe2L's files with sample IDs in each."""

    name = "gvbsm"
    title = "G-VBSM: teacher logits by epoch and batch, with sample IDs"
    kind = Kind.EPOCH_DIRECTORIES

    def fits(self, layout: Layout, signature: Signature) -> bool:
        """See `BatchImporter.fits`."""
        return signature.sample_ids and not signature.patches and not signature.layers

    def number(
        self, layout: Layout, scanned: Scan, known: KnownSamples, options: ImportOptions
    ) -> Numbered:
        """See `BatchImporter.number`."""
        return ids_in_batches(layout, scanned)
