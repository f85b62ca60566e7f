"""Soft labels of whole epochs, stored batch by batch: SRe2L and the formats derived from it.

layout     files by name: epochs, batches, list of samples
record     one record, recognised by types and shapes
batch      its augmentation, read and checked
scanning   all files, once
orders     the sampler's permutations, drawn again or read beside the batches
samples    what the user says of the images
kinds      logits and probabilities among the top-k labels of one set
copies     batches that were copied over others
numbering  sample IDs and seeds of every batch
source     the scanned source: records, and labels batch by batch
base       what importers have in common
producers  a module for each: SRe2L, LPLD, LPQLD, G-VBSM, EDC, HALD
"""

from labelcast_producers.formats.batches.base import BatchImporter
from labelcast_producers.formats.batches.projects.edc import EDCImporter
from labelcast_producers.formats.batches.projects.gvbsm import GVBSMImporter
from labelcast_producers.formats.batches.projects.hald import HALDImporter
from labelcast_producers.formats.batches.projects.lpld import LPLDImporter
from labelcast_producers.formats.batches.projects.lpqld import LPQLDImporter
from labelcast_producers.formats.batches.projects.sre2l import SRe2LImporter

BATCH_IMPORTERS: tuple[BatchImporter, ...] = (
    SRe2LImporter(),
    LPLDImporter(),
    LPQLDImporter(),
    GVBSMImporter(),
    EDCImporter(),
    HALDImporter(),
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
