"""HALD: probabilities, one file per epoch, with a list of their samples."""

from labelcast.codec import LabelKind
from labelcast.errors import InvalidRequestError
from labelcast_producers.formats.batches.base import BatchImporter, Numbered
from labelcast_producers.formats.batches.layout import Kind, Layout
from labelcast_producers.formats.batches.projects.sample_ids import ids_from_list
from labelcast_producers.formats.batches.record import Signature
from labelcast_producers.formats.batches.samples import KnownSamples
from labelcast_producers.formats.batches.scanning import Scan
from labelcast_producers.formats.source import ImportOptions


class HALDImporter(BatchImporter):
    """Importer of files of whole epochs of probabilities, with a list of every epoch's samples."""

    name = "hald"
    title = "HALD: teacher probabilities, a file an epoch, with sample IDs"
    kind = Kind.EPOCH_FILES
    needs_ids_file = True
    label_kind = LabelKind.PROBABILITIES

    def fits(self, layout: Layout, signature: Signature) -> bool:
        """See `BatchImporter.fits`."""
        return signature.is_plain and not signature.cutout

    def missing(self, layout: Layout, signature: Signature) -> tuple[str, ...]:
        """See `BatchImporter.missing`."""
        return (
            "--temperature: that the probabilities were taken at",
            *super().missing(layout, signature),
        )

    def check_options(self, options: ImportOptions) -> None:
        """See `BatchImporter.check_options`."""
        super().check_options(options)
        if self.kind_of(options) is LabelKind.PROBABILITIES and options.temperature is None:
            raise InvalidRequestError(
                "HALD's files hold softmax(logits / T) and do not say T; give it with --temperature"
            )

    def number(
        self, layout: Layout, scanned: Scan, known: KnownSamples, options: ImportOptions
    ) -> Numbered:
        """See `BatchImporter.number`."""
        return ids_from_list(layout, scanned)
