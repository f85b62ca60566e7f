"""Codecs whose rows name a few classes, and a rule for the others."""

from labelcast.codec.sparse.base import SparseCodec, SparseLabels

__all__ = ["SparseCodec", "SparseLabels"]
