from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Padding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PADDING_UNSPECIFIED: _ClassVar[Padding]
    PADDING_DROP: _ClassVar[Padding]
    PADDING_REPEAT: _ClassVar[Padding]
    PADDING_UNEVEN: _ClassVar[Padding]

class Form(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FORM_UNSPECIFIED: _ClassVar[Form]
    FORM_CODES: _ClassVar[Form]
    FORM_LOGITS: _ClassVar[Form]
    FORM_PROBABILITIES: _ClassVar[Form]
    FORM_TOP_K: _ClassVar[Form]

class Precision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRECISION_UNSPECIFIED: _ClassVar[Precision]
    PRECISION_FP16: _ClassVar[Precision]
    PRECISION_FP32: _ClassVar[Precision]

class Missing(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MISSING_UNSPECIFIED: _ClassVar[Missing]
    MISSING_REFUSE: _ClassVar[Missing]
    MISSING_DROP: _ClassVar[Missing]
    MISSING_DRAW: _ClassVar[Missing]
    MISSING_DRAW_ALL: _ClassVar[Missing]
PADDING_UNSPECIFIED: Padding
PADDING_DROP: Padding
PADDING_REPEAT: Padding
PADDING_UNEVEN: Padding
FORM_UNSPECIFIED: Form
FORM_CODES: Form
FORM_LOGITS: Form
FORM_PROBABILITIES: Form
FORM_TOP_K: Form
PRECISION_UNSPECIFIED: Precision
PRECISION_FP16: Precision
PRECISION_FP32: Precision
MISSING_UNSPECIFIED: Missing
MISSING_REFUSE: Missing
MISSING_DROP: Missing
MISSING_DRAW: Missing
MISSING_DRAW_ALL: Missing

class Column(_message.Message):
    __slots__ = ("width", "data")
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    width: int
    data: bytes
    def __init__(self, width: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class Views(_message.Message):
    __slots__ = ("count", "sample_ids", "seeds")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_IDS_FIELD_NUMBER: _ClassVar[int]
    SEEDS_FIELD_NUMBER: _ClassVar[int]
    count: int
    sample_ids: Column
    seeds: Column
    def __init__(self, count: _Optional[int] = ..., sample_ids: _Optional[_Union[Column, _Mapping]] = ..., seeds: _Optional[_Union[Column, _Mapping]] = ...) -> None: ...

class Spans(_message.Message):
    __slots__ = ("count", "sample_ids", "firsts", "lengths")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_IDS_FIELD_NUMBER: _ClassVar[int]
    FIRSTS_FIELD_NUMBER: _ClassVar[int]
    LENGTHS_FIELD_NUMBER: _ClassVar[int]
    count: int
    sample_ids: Column
    firsts: Column
    lengths: Column
    def __init__(self, count: _Optional[int] = ..., sample_ids: _Optional[_Union[Column, _Mapping]] = ..., firsts: _Optional[_Union[Column, _Mapping]] = ..., lengths: _Optional[_Union[Column, _Mapping]] = ...) -> None: ...

class Range(_message.Message):
    __slots__ = ("first", "count")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    first: int
    count: int
    def __init__(self, first: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...

class List(_message.Message):
    __slots__ = ("count", "values")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    count: int
    values: Column
    def __init__(self, count: _Optional[int] = ..., values: _Optional[_Union[Column, _Mapping]] = ...) -> None: ...

class Plan(_message.Message):
    __slots__ = ("sample_range", "sample_list", "seed_range", "seed_list", "sequence_epochs", "order_key", "rank", "num_ranks", "padding")
    SAMPLE_RANGE_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_LIST_FIELD_NUMBER: _ClassVar[int]
    SEED_RANGE_FIELD_NUMBER: _ClassVar[int]
    SEED_LIST_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    ORDER_KEY_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    NUM_RANKS_FIELD_NUMBER: _ClassVar[int]
    PADDING_FIELD_NUMBER: _ClassVar[int]
    sample_range: Range
    sample_list: List
    seed_range: Range
    seed_list: List
    sequence_epochs: int
    order_key: int
    rank: int
    num_ranks: int
    padding: Padding
    def __init__(self, sample_range: _Optional[_Union[Range, _Mapping]] = ..., sample_list: _Optional[_Union[List, _Mapping]] = ..., seed_range: _Optional[_Union[Range, _Mapping]] = ..., seed_list: _Optional[_Union[List, _Mapping]] = ..., sequence_epochs: _Optional[int] = ..., order_key: _Optional[int] = ..., rank: _Optional[int] = ..., num_ranks: _Optional[int] = ..., padding: _Optional[_Union[Padding, str]] = ...) -> None: ...

class Representation(_message.Message):
    __slots__ = ("form", "precision", "temperature", "k")
    FORM_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    form: Form
    precision: Precision
    temperature: float
    k: int
    def __init__(self, form: _Optional[_Union[Form, str]] = ..., precision: _Optional[_Union[Precision, str]] = ..., temperature: _Optional[float] = ..., k: _Optional[int] = ...) -> None: ...

class GetLabelSetRequest(_message.Message):
    __slots__ = ("reference",)
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    reference: str
    def __init__(self, reference: _Optional[str] = ...) -> None: ...

class GetLabelSetResponse(_message.Message):
    __slots__ = ("digest", "manifest", "report", "reference")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    digest: str
    manifest: bytes
    report: bytes
    reference: str
    def __init__(self, digest: _Optional[str] = ..., manifest: _Optional[bytes] = ..., report: _Optional[bytes] = ..., reference: _Optional[str] = ...) -> None: ...

class GetBlobRequest(_message.Message):
    __slots__ = ("label_set", "blob", "offset")
    LABEL_SET_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    label_set: str
    blob: str
    offset: int
    def __init__(self, label_set: _Optional[str] = ..., blob: _Optional[str] = ..., offset: _Optional[int] = ...) -> None: ...

class GetBlobResponse(_message.Message):
    __slots__ = ("offset", "total_bytes", "data")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    offset: int
    total_bytes: int
    data: bytes
    def __init__(self, offset: _Optional[int] = ..., total_bytes: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class ResolveViewsRequest(_message.Message):
    __slots__ = ("label_set", "views", "missing")
    LABEL_SET_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    label_set: str
    views: Views
    missing: Missing
    def __init__(self, label_set: _Optional[str] = ..., views: _Optional[_Union[Views, _Mapping]] = ..., missing: _Optional[_Union[Missing, str]] = ...) -> None: ...

class ResolveViewsResponse(_message.Message):
    __slots__ = ("views", "rows", "subject_crc32")
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_CRC32_FIELD_NUMBER: _ClassVar[int]
    views: Views
    rows: Column
    subject_crc32: int
    def __init__(self, views: _Optional[_Union[Views, _Mapping]] = ..., rows: _Optional[_Union[Column, _Mapping]] = ..., subject_crc32: _Optional[int] = ...) -> None: ...

class GetLabelsRequest(_message.Message):
    __slots__ = ("label_set", "representation", "views", "spans")
    LABEL_SET_FIELD_NUMBER: _ClassVar[int]
    REPRESENTATION_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    label_set: str
    representation: Representation
    views: Views
    spans: Spans
    def __init__(self, label_set: _Optional[str] = ..., representation: _Optional[_Union[Representation, _Mapping]] = ..., views: _Optional[_Union[Views, _Mapping]] = ..., spans: _Optional[_Union[Spans, _Mapping]] = ...) -> None: ...

class GetLabelsResponse(_message.Message):
    __slots__ = ("parts",)
    PARTS_FIELD_NUMBER: _ClassVar[int]
    parts: _containers.RepeatedCompositeFieldContainer[LabelRows]
    def __init__(self, parts: _Optional[_Iterable[_Union[LabelRows, _Mapping]]] = ...) -> None: ...

class StreamLabelsRequest(_message.Message):
    __slots__ = ("label_set", "representation", "first_row", "views", "spans")
    LABEL_SET_FIELD_NUMBER: _ClassVar[int]
    REPRESENTATION_FIELD_NUMBER: _ClassVar[int]
    FIRST_ROW_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    label_set: str
    representation: Representation
    first_row: int
    views: Views
    spans: Spans
    def __init__(self, label_set: _Optional[str] = ..., representation: _Optional[_Union[Representation, _Mapping]] = ..., first_row: _Optional[int] = ..., views: _Optional[_Union[Views, _Mapping]] = ..., spans: _Optional[_Union[Spans, _Mapping]] = ...) -> None: ...

class StreamPlanRequest(_message.Message):
    __slots__ = ("label_set", "representation", "plan", "first_row", "num_rows")
    LABEL_SET_FIELD_NUMBER: _ClassVar[int]
    REPRESENTATION_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    FIRST_ROW_FIELD_NUMBER: _ClassVar[int]
    NUM_ROWS_FIELD_NUMBER: _ClassVar[int]
    label_set: str
    representation: Representation
    plan: Plan
    first_row: int
    num_rows: int
    def __init__(self, label_set: _Optional[str] = ..., representation: _Optional[_Union[Representation, _Mapping]] = ..., plan: _Optional[_Union[Plan, _Mapping]] = ..., first_row: _Optional[int] = ..., num_rows: _Optional[int] = ...) -> None: ...

class StreamLabelsResponse(_message.Message):
    __slots__ = ("rows",)
    ROWS_FIELD_NUMBER: _ClassVar[int]
    rows: LabelRows
    def __init__(self, rows: _Optional[_Union[LabelRows, _Mapping]] = ...) -> None: ...

class LabelRows(_message.Message):
    __slots__ = ("first_row", "count", "payload_crc32", "subject_crc32", "payload")
    FIRST_ROW_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_CRC32_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_CRC32_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    first_row: int
    count: int
    payload_crc32: int
    subject_crc32: int
    payload: bytes
    def __init__(self, first_row: _Optional[int] = ..., count: _Optional[int] = ..., payload_crc32: _Optional[int] = ..., subject_crc32: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...
