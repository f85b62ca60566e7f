"""Labels of a batch that are still rows, as the teacher's side of a loss."""

import torch
from torch import Tensor

from labelcast.codec import LabelKind, TopKCodec
from labelcast.codec.sparse import SampledCodec
from labelcast.codec.topk import MISSING_LOGIT
from labelcast.errors import InvalidRequestError
from labelcast.torch.coded_labels import CodedLabels
from labelcast.torch.tokens.decoders import LatentDecoder, SparseDecoder
from labelcast.torch.tokens.divergences import (
    Compared,
    Objective,
    compare_logits,
    compare_sparse,
)
from labelcast.torch.tokens.sparse_rows import Part
from labelcast.torch.tokens.teachers import Teacher, compare_dense

# Codecs whose labels are random samples.
DRAWN = frozenset({SampledCodec.name})


class CodedTeacher(Teacher):
    """Rows, of which a slice is decoded at a time, and only to what a loss needs.

    Args:
        codes: from `label_set.code_reader()`.
    """

    def __init__(self, codes: CodedLabels) -> None:
        header = codes.decoder.header
        self._codes = codes
        self.vocabulary, self.temperatures = header.num_classes, header.temperatures
        self.device = codes.rows.device
        self.kept = (codes.rows,) if codes.context is None else (codes.rows, codes.context)
        self.drawn = codes.decoder.name in DRAWN

    def __len__(self) -> int:
        return len(self._codes)

    def compare(self, objective: Objective, student: Tensor, part: Part) -> Compared:
        """See `Teacher.compare`."""
        decoder = self._codes.decoder
        if isinstance(decoder, SparseDecoder):
            named = decoder.sparse(self._codes.rows[part])
            return compare_sparse(objective, student, named.to(student.dtype))
        if isinstance(decoder, LatentDecoder):
            states = decoder.latents(self._codes.rows[part])
            logits = decoder.require_head().logits(states)
            return compare_logits(objective, student, logits.to(student.dtype))
        labels = self._codes.decode(part)
        if decoder.name == TopKCodec.name and decoder.header.label_kind is LabelKind.LOGITS:
            # Its stand-in for a token that is not named is finite, and so would losses be that are
            # not.
            labels.masked_fill_(labels <= MISSING_LOGIT, -torch.inf)
        return compare_dense(objective, student, labels, decoder.header.label_kind)


def teacher_of(labels: CodedLabels | Teacher) -> Teacher:
    """The teacher's side of what a loss was given.

    Raises:
        InvalidRequestError: it is neither.
    """
    if isinstance(labels, Teacher):
        return labels
    if isinstance(labels, CodedLabels):
        return CodedTeacher(labels)
    raise InvalidRequestError(
        f"labels come as CodedLabels, not {type(labels).__name__}; take them from"
        " label_set.code_reader(), or make DenseLabels of decoded ones"
    )
