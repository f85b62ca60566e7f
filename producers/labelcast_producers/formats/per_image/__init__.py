"""Formats with one file for each image: FKD and Apple's reinforced data sets."""

from labelcast_producers.formats.per_image.fkd import FkdImporter
from labelcast_producers.formats.per_image.ml_dr import MlDrImporter

__all__ = ["FkdImporter", "MlDrImporter"]
