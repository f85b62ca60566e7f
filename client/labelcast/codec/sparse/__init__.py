"""Codecs whose rows name a few classes, and a rule for the others."""

from labelcast.codec.sparse.base import SparseCodec, SparseLabels
from labelcast.codec.sparse.missing_mass import MissingMass
from labelcast.codec.sparse.packed_top_k import PackedTopKCodec
from labelcast.codec.sparse.sampled import SampledCodec

__all__ = ["MissingMass", "PackedTopKCodec", "SampledCodec", "SparseCodec", "SparseLabels"]
