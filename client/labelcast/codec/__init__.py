"""Codecs: how rows of bytes become soft labels. Needs only numpy and does no I/O."""

from labelcast.codec.artifact import check_golden, golden_rows, read_artifact, write_artifact
from labelcast.codec.base import (
    TOLERANCES,
    Codec,
    CodecHeader,
    LabelKind,
    Labels,
    Precision,
    TemperatureRange,
    Tolerance,
)
from labelcast.codec.bitpack import pack_codes, unpack_codes
from labelcast.codec.context_shape import ContextShape
from labelcast.codec.latent import (
    Head,
    HeadDtype,
    HeadSpec,
    HiddenCodec,
    LatentCodec,
    StatePrecision,
)
from labelcast.codec.raw import RawCodec
from labelcast.codec.readout import Readout
from labelcast.codec.sparse import (
    MissingMass,
    PackedTopKCodec,
    SampledCodec,
    SparseCodec,
    SparseLabels,
)
from labelcast.codec.sparse.distillkit import DistillKitCodec
from labelcast.codec.topk import Recovery, TopKCodec
from labelcast.codec.vqae import VqaeCodec, VqaeShape
from labelcast.context.rows import Context
from labelcast.views import Rows

__all__ = [
    "TOLERANCES",
    "Codec",
    "CodecHeader",
    "Context",
    "ContextShape",
    "DistillKitCodec",
    "Head",
    "HeadDtype",
    "HeadSpec",
    "HiddenCodec",
    "LabelKind",
    "Labels",
    "LatentCodec",
    "MissingMass",
    "PackedTopKCodec",
    "Precision",
    "RawCodec",
    "Readout",
    "Recovery",
    "Rows",
    "SampledCodec",
    "SparseCodec",
    "SparseLabels",
    "StatePrecision",
    "TemperatureRange",
    "Tolerance",
    "TopKCodec",
    "VqaeCodec",
    "VqaeShape",
    "check_golden",
    "golden_rows",
    "pack_codes",
    "read_artifact",
    "unpack_codes",
    "write_artifact",
]
