"""Label sets: manifests, contracts, sections and the digests that pin them."""

from labelcast.label_set.canonical_json import from_canonical, to_canonical
from labelcast.label_set.chunking import CHUNK_BYTES, rows_per_chunk
from labelcast.label_set.contract import (
    ContextRef,
    Expectation,
    LabelContract,
    SampleOrder,
    policy_digest,
)
from labelcast.label_set.digests import (
    check_digest,
    class_list_digest,
    dataset_digest,
    digest_of,
)
from labelcast.label_set.index.base import SegmentIndex
from labelcast.label_set.index.draws import MissingViews, StoredViews
from labelcast.label_set.index.grid import GridIndex
from labelcast.label_set.index.masked import MaskedIndex
from labelcast.label_set.index.ragged import RaggedIndex
from labelcast.label_set.index.sequences import index_of_sequences
from labelcast.label_set.index.tables import index_of, index_of_cells, table_sections
from labelcast.label_set.index.whole import ViewIndex
from labelcast.label_set.manifest import MAX_REPORT_BYTES, Manifest
from labelcast.label_set.section import (
    SHARD_BYTES,
    BlobRef,
    Section,
    Shard,
    check_chunk,
    chunk_checksum,
)
from labelcast.label_set.segment import Augmentation, RowOrder, Segment
from labelcast.label_set.stages import (
    Stage,
    StageGrid,
    stage_grid,
    stage_segments,
    stage_views,
)

__all__ = [
    "CHUNK_BYTES",
    "MAX_REPORT_BYTES",
    "SHARD_BYTES",
    "Augmentation",
    "BlobRef",
    "ContextRef",
    "Expectation",
    "GridIndex",
    "LabelContract",
    "Manifest",
    "MaskedIndex",
    "MissingViews",
    "RaggedIndex",
    "RowOrder",
    "SampleOrder",
    "Section",
    "Segment",
    "SegmentIndex",
    "Shard",
    "Stage",
    "StageGrid",
    "StoredViews",
    "ViewIndex",
    "check_chunk",
    "check_digest",
    "chunk_checksum",
    "class_list_digest",
    "dataset_digest",
    "digest_of",
    "from_canonical",
    "index_of",
    "index_of_cells",
    "index_of_sequences",
    "policy_digest",
    "rows_per_chunk",
    "stage_grid",
    "stage_segments",
    "stage_views",
    "table_sections",
    "to_canonical",
]
