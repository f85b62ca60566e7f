"""DistillKit's compressed log-probabilities, one token a row."""

from labelcast.codec.sparse.distillkit.codec import DistillKitCodec
from labelcast.codec.sparse.distillkit.settings import ResidualBin, Settings

__all__ = ["DistillKitCodec", "ResidualBin", "Settings"]
