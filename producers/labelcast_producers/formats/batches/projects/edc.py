"""EDC: SRe2L's files with sample IDs and patch orders."""

from dataclasses import replace

from labelcast_producers.formats.batches.base import BatchImporter, Numbered
from labelcast_producers.formats.batches.layout import Kind, Layout
from labelcast_producers.formats.batches.projects.sample_ids import ids_in_batches
from labelcast_producers.formats.batches.record import Signature
from labelcast_producers.formats.batches.samples import KnownSamples
from labelcast_producers.formats.batches.scanning import Scan
from labelcast_producers.formats.source import ImportOptions


class EDCImporter(BatchImporter):
    """Importer of SRe2L's files with sample IDs and the order of shuffled patches in each."""

    name = "edc"
    title = "EDC: teacher logits of shuffled patches by epoch and batch, with sample IDs"
    kind = Kind.EPOCH_DIRECTORIES

    def fits(self, layout: Layout, signature: Signature) -> bool:
        """See `BatchImporter.fits`."""
        return signature.patches and not signature.layers

    def number(
        self, layout: Layout, scanned: Scan, known: KnownSamples, options: ImportOptions
    ) -> Numbered:
        """See `BatchImporter.number`."""
        ids = ids_in_batches(layout, scanned)
        if options.apply_patches:
            return ids
        note = (
            "the patch orders in these files are not replayed, since EDC's published code stores"
            " them without applying them; --apply-patches if yours does"
        )
        return replace(ids, notes=(*ids.notes, note))
