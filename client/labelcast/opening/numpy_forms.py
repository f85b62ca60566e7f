"""Labels → delivered rows with numpy, as the service's decoder makes them."""

import numpy as np

from labelcast.codec import CodecHeader, LabelKind, Labels, Precision, Rows
from labelcast.codec.topk import top_k_id_dtype
from labelcast.errors import LabelValueError
from labelcast.representation import Form, Representation


def present(labels: Labels, representation: Representation, header: CodecHeader) -> Rows:
    """Convert labels to the requested form.

    Args:
        labels: float32, shape (N, C), as the codec decodes them.
        representation: any form but codes, checked against `header`.
        header: says whether `labels` are logits or probabilities.

    Returns:
        uint8, shape (N, stride of the representation).

    Raises:
        LabelValueError: a value overflows the precision.
    """
    precision = representation.precision or Precision.FP16
    if representation.form is Form.LOGITS:
        return _rows(labels, precision)
    if header.label_kind is LabelKind.LOGITS:
        scaled = labels / np.float32(representation.temperature or 1.0)
        exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        labels = exponentials / exponentials.sum(axis=1, keepdims=True)
    if representation.k is None:
        return _rows(labels, precision)
    ids = np.argsort(-labels, axis=1, kind="stable")[:, : representation.k]
    id_rows = np.ascontiguousarray(ids.astype(top_k_id_dtype(header.num_classes)))
    probabilities = _rows(np.take_along_axis(labels, ids, axis=1), Precision.FP16)
    return np.hstack([id_rows.view(np.uint8).reshape(len(ids), -1), probabilities])


def _rows(values: Labels, precision: Precision) -> Rows:
    with np.errstate(over="ignore"):
        cast = np.ascontiguousarray(values.astype(precision.dtype))
    if not np.isfinite(cast).all():
        raise LabelValueError(f"a label overflows {precision}; ask for fp32")
    return cast.view(np.uint8).reshape(len(values), -1)
