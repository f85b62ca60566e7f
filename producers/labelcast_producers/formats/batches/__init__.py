"""Soft labels of whole epochs, stored batch by batch: SRe2L and all that grew from it.

layout     files by name: epochs, batches, what names the samples
record     one record, recognised by types and shapes
batch      its augmentation, read and checked
scanning   all files, once
orders     the sampler's permutations, drawn again or read beside the batches
samples    what the user says of the images
numbering  sample IDs and seeds of every batch
source     the scanned source: records, and labels batch by batch
importers  what tells the producers apart
"""

from labelcast_producers.formats.batches.base import BatchImporter
from labelcast_producers.formats.batches.producers import (
    BATCH_IMPORTERS,
    EDCImporter,
    GVBSMImporter,
    HALDImporter,
    LPLDImporter,
    LPQLDImporter,
    SRe2LImporter,
)

__all__ = [
    "BATCH_IMPORTERS",
    "BatchImporter",
    "EDCImporter",
    "GVBSMImporter",
    "HALDImporter",
    "LPLDImporter",
    "LPQLDImporter",
    "SRe2LImporter",
]
