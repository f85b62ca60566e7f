"""Values ⇄ messages: with `wire_plan`, all that builds or reads a protobuf message.

columns   messages from bytes, and integers of many rows
views     which labels are asked for
spans     the same where they are consecutive positions of sequences
requests  in which form, of which label set; what becomes of views that are missing
replies   rows of labels
"""

from labelcast.wire.columns import column_from_proto, column_to_proto, parse
from labelcast.wire.replies import (
    MESSAGE_BYTES,
    ReceivedRows,
    reply_of_rows,
    reply_rows,
    rows_from_proto,
)
from labelcast.wire.requests import (
    label_set_from_proto,
    missing_from_proto,
    missing_to_proto,
    representation_from_proto,
    representation_to_proto,
    resolved_from_proto,
    resolved_to_proto,
)
from labelcast.wire.spans import AskedSpans, asked_from_proto, knows_spans, named_views
from labelcast.wire.views import (
    MAX_VIEWS_PER_REQUEST,
    AskedViews,
    views_from_proto,
    views_to_proto,
)

__all__ = [
    "MAX_VIEWS_PER_REQUEST",
    "MESSAGE_BYTES",
    "AskedSpans",
    "AskedViews",
    "ReceivedRows",
    "asked_from_proto",
    "column_from_proto",
    "column_to_proto",
    "knows_spans",
    "label_set_from_proto",
    "missing_from_proto",
    "missing_to_proto",
    "named_views",
    "parse",
    "reply_of_rows",
    "reply_rows",
    "representation_from_proto",
    "representation_to_proto",
    "resolved_from_proto",
    "resolved_to_proto",
    "rows_from_proto",
    "views_from_proto",
    "views_to_proto",
]
