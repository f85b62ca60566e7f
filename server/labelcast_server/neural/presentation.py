"""Decoded labels → delivered rows, on the device that decoded them."""

import torch
from torch import Tensor

from labelcast.codec import CodecHeader, LabelKind, Precision
from labelcast.codec.topk import top_k_id_dtype
from labelcast.errors import LabelValueError
from labelcast.representation import Form, Representation

_DTYPES = {Precision.FP16: torch.float16, Precision.FP32: torch.float32}


def present(labels: Tensor, representation: Representation, header: CodecHeader) -> Tensor:
    """Bring labels into the form that a client asked for.

    Args:
        labels: float32, shape (N, C), as the codec decodes them.
        representation: any form but codes, checked against `header`.
        header: says whether `labels` are logits or probabilities.

    Returns:
        uint8, shape (N, stride of the representation), on the device of `labels`.

    Raises:
        LabelValueError: a value overflows the precision.
    """
    precision = representation.precision or Precision.FP16
    if representation.form is Form.LOGITS:
        return _rows(labels, precision)
    if header.label_kind is LabelKind.LOGITS:
        labels = torch.softmax(labels / (representation.temperature or 1.0), dim=1)
    if representation.k is None:
        return _rows(labels, precision)
    probabilities, ids = torch.topk(labels, representation.k, dim=1)
    id_dtype = torch.uint16 if top_k_id_dtype(header.num_classes).itemsize == 2 else torch.uint32
    id_rows = ids.to(id_dtype).view(torch.uint8).reshape(len(labels), -1)
    return torch.cat([id_rows, _rows(probabilities, Precision.FP16)], dim=1)


def _rows(values: Tensor, precision: Precision) -> Tensor:
    cast = values.to(_DTYPES[precision]).contiguous()
    if not torch.isfinite(cast).all():
        raise LabelValueError(f"a label overflows {precision}; ask for fp32")
    return cast.view(torch.uint8).reshape(len(values), -1)
