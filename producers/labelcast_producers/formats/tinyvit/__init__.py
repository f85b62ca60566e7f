"""TinyViT: fixed records of top-k probabilities, in binary files by epoch and rank."""

from labelcast_producers.formats.tinyvit.importer import TinyVitImporter, TinyVitSource

__all__ = ["TinyVitImporter", "TinyVitSource"]
