"""EDC: SRe2L's files with sample IDs and patch orders.

Its scripts divide a crop's top and height by the *width* of the image, and its left and width by
the height. Nobody sees that on square images; on others, only the image tells the crop.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast_producers.formats.batches.base import BatchImporter, Numbered
from labelcast_producers.formats.batches.batch import NOT_SHUFFLED, Batch, outside_image
from labelcast_producers.formats.batches.layout import Kind, Layout
from labelcast_producers.formats.batches.numbering import SampleIDs
from labelcast_producers.formats.batches.projects.sample_ids import ids_in_batches
from labelcast_producers.formats.batches.record import Signature
from labelcast_producers.formats.batches.samples import KnownSamples
from labelcast_producers.formats.batches.scanning import Scan
from labelcast_producers.formats.shared.image_sizes import image_sizes
from labelcast_producers.formats.source import ImportOptions

_EXCHANGED = "EDC divides a crop's top and height by the width, its left and width by the height"


class EDCImporter(BatchImporter):
    """Importer of SRe2L's files with sample IDs and the order of shuffled patches in each."""

    name = "edc"
    title = "EDC: teacher logits by epoch and batch, with sample IDs and patch orders"
    kind = Kind.EPOCH_DIRECTORIES

    def fits(self, layout: Layout, signature: Signature) -> bool:
        """See `BatchImporter.fits`."""
        return signature.patches and not signature.layers

    def missing(self, layout: Layout, signature: Signature) -> tuple[str, ...]:
        """See `BatchImporter.missing`."""
        images = f"--images: of images that are not square; {_EXCHANGED}"
        return (images, *super().missing(layout, signature))

    def number(
        self, layout: Layout, scanned: Scan, known: KnownSamples, options: ImportOptions
    ) -> Numbered:
        """See `BatchImporter.number`."""
        ids, notes = ids_in_batches(layout, scanned), []
        if known.folder is None:
            notes.append(
                f"images are taken to be square, as there are no --images; {_EXCHANGED}: crops of"
                " images that are not square are wrong without them"
            )
        if not options.apply_patches and any(map(_is_shuffled, scanned.batches)):
            notes.append(
                "the patch orders in these files are not replayed, since EDC's published code"
                " stores them without applying them; --apply-patches if yours does"
            )
        return replace(ids, notes=(*ids.notes, *notes))

    def with_images(self, scanned: Scan, ids: Sequence[SampleIDs], known: KnownSamples) -> Scan:
        """See `BatchImporter.with_images`: gives the crops as fractions of their own side."""
        if known.folder is None:
            for batch in scanned.batches:
                _require_crops(batch, batch.coords, f"a square image: {_EXCHANGED}; give --images")
            return scanned
        samples, places = np.unique(np.concatenate(ids), return_inverse=True)
        names = [known.folder.paths[sample] for sample in samples.tolist()]
        sizes = image_sizes(known.folder.root, names)[places]
        batches, end = [], 0
        for batch in scanned.batches:
            start, end = end, end + batch.size
            crops = _crops(batch.coords, sizes[start:end])
            _require_crops(batch, crops, "its image; give the --images that were labelled")
            batches.append(replace(batch, coords=crops))
        return replace(scanned, batches=tuple(batches))


def _is_shuffled(batch: Batch) -> bool:
    return batch.patches is not None and bool((batch.patches != NOT_SHUFFLED).any())


def _crops(stored: NDArray[Any], sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Crops as fractions of the side that they lie along.

    Args:
        stored: as fractions of the other side, shape (B, 4).
        sizes: height and width of the images, shape (B, 2).
    """
    # Whole pixels again, as the producer's loader makes them.
    pixels = np.rint(stored.astype(np.float64) * np.tile(sizes[:, ::-1], 2))
    crops: NDArray[np.float64] = pixels / np.tile(sizes, 2)
    return crops


def _require_crops(batch: Batch, crops: NDArray[Any], within: str) -> None:
    row = outside_image(crops)
    if row is not None:
        batch.place.refuse(
            f"coords, row {row}: {batch.coords[row].tolist()} is no crop within {within}"
        )
