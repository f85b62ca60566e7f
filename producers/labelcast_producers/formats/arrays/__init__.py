"""Plain arrays: .npy, .npz, .safetensors, .pt and Parquet."""

from labelcast_producers.formats.arrays.importer import ArrayImporter, ArraySource, decided_kind

__all__ = ["ArrayImporter", "ArraySource", "decided_kind"]
