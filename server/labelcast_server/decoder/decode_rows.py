"""Decoded labels → delivered rows, on the device that decoded them."""

import torch
from torch import Tensor

from labelcast.codec import CodecHeader, LabelKind, Precision, Rows
from labelcast.codec.topk import top_k_id_dtype
from labelcast.errors import LabelValueError
from labelcast.representation import Form, Representation
from labelcast.torch.decoding import TorchDecoder

_DTYPES = {Precision.FP16: torch.float16, Precision.FP32: torch.float32}


def decode_rows(decoder: TorchDecoder, representation: Representation, rows: Rows) -> Rows:
    """Decode packed rows and convert their labels to the requested form.

    Needs a few times N × C × 4 bytes of memory: the caller bounds N.

    Args:
        decoder: decoder of the codec, on its device.
        representation: any form but codes.
        rows: uint8, shape (N, stride + context stride), writeable, as torch requires.

    Returns:
        uint8, shape (N, stride of the representation), in the order of `rows`.

    Raises:
        RequestError: the labels cannot be delivered in that form.
        CodecError: a row is bad.
        LabelValueError: a value overflows the precision.
    """
    representation.check(decoder.header)
    on_device = torch.from_numpy(rows).to(decoder.device)
    codes, context = on_device[:, : decoder.row_stride], on_device[:, decoder.row_stride :]
    labels = decoder.decode(codes, context if decoder.context_stride else None)
    delivered: Rows = present(labels, representation, decoder.header).cpu().numpy()
    return delivered


def present(labels: Tensor, representation: Representation, header: CodecHeader) -> Tensor:
    """Convert labels to the form that a client asked for.

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
    # NaN comes through; on a CPU this takes a twentieth of the time of looking at every value.
    if cast.numel() and not torch.isfinite(torch.stack(torch.aminmax(cast))).all():
        raise LabelValueError(f"a label overflows {precision}; ask for fp32")
    return cast.view(torch.uint8).reshape(len(values), -1)
