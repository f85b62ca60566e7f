"""Every format that can be imported."""

from labelcast_producers.formats.arrays import ArrayImporter
from labelcast_producers.formats.batches import BATCH_IMPORTERS
from labelcast_producers.formats.distilled.files import DistilledImporter
from labelcast_producers.formats.distilled.pdd import PddImporter
from labelcast_producers.formats.distillkit import DistillKitImporter
from labelcast_producers.formats.per_image import FkdImporter, MlDrImporter
from labelcast_producers.formats.source import Importer
from labelcast_producers.formats.tinyvit import TinyVitImporter

IMPORTERS: tuple[Importer, ...] = (
    *BATCH_IMPORTERS,
    FkdImporter(),
    MlDrImporter(),
    TinyVitImporter(),
    DistillKitImporter(),
    DistilledImporter(),
    PddImporter(),
    ArrayImporter(),
)
