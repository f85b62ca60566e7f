"""Decoded labels → delivered rows, on the device that decoded them."""

import torch
from torch import Tensor

from labelcast.codec import CodecHeader, LabelKind, Precision, Rows
from labelcast.codec.topk import top_k_id_dtype
from labelcast.errors import LabelValueError
from labelcast.representation import Form, Representation
from labelcast.torch.decoding import TorchDecoder
from labelcast_server.decoder.landing import Landing, landing_for, slice_rows

_DTYPES = {Precision.FP16: torch.float16, Precision.FP32: torch.float32}


def decode_rows(
    decoder: TorchDecoder,
    representation: Representation,
    rows: Rows,
    *,
    landing: Landing | None = None,
    step: int | None = None,
) -> Rows:
    """Decode packed rows and convert their labels to the requested form.

    Needs a few times N × C × 4 bytes of memory: the caller bounds N.

    Args:
        decoder: decoder of the codec, on its device.
        representation: any form but codes.
        rows: uint8, shape (N, stride + context stride), writeable, as torch requires.
        landing: where the labels arrive; by default somewhere new.
        step: rows of a slice; by default what suits the device.

    Returns:
        uint8, shape (N, stride of the representation), in the order of `rows`.

    Raises:
        RequestError: the labels cannot be delivered in that form.
        CodecError: a row is bad.
        LabelValueError: a value overflows the precision.
    """
    header, device = decoder.header, decoder.device
    representation.check(header)
    stride = representation.row_stride(header.num_classes, decoder.row_stride)
    landing = landing or landing_for(device)
    step = step or slice_rows(device, header.num_classes, len(rows))
    on_device = torch.from_numpy(rows).to(device)
    landing.begin((len(rows), stride))
    for start in range(0, len(rows), step):
        part = on_device[start : start + step]
        context = part[:, decoder.row_stride :] if decoder.context_stride else None
        labels = decoder.decode(part[:, : decoder.row_stride], context)
        landing.put(start, present(labels, representation, header))
    return landing.finish()


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
