"""DistillKit: top-k log-probabilities of language models in Parquet files."""

from labelcast_producers.formats.distillkit.importer import DistillKitImporter
from labelcast_producers.formats.distillkit.source import DistillKitSource

__all__ = ["DistillKitImporter", "DistillKitSource"]
