"""The contract of codecs whose rows hold states, which a head turns into labels."""

import copy
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labelcast.codec.base import Codec, CodecHeader, LabelKind, Labels, integer
from labelcast.codec.latent.head import MAX_WIDTH, Head
from labelcast.errors import CodecFormatError
from labelcast.views import Rows


class LatentCodec(Codec):
    """Rows hold hidden states, of which a head that lies elsewhere makes logits.

    Besides the rules of every codec: the artifact proves the states of its golden rows, not the
    logits, so that a codec can be read without its head.

    Args:
        header: classes and kind of the labels: logits.
        width: channels of a state, d.
    """

    def __init__(self, header: CodecHeader, width: int) -> None:
        super().__init__(header)
        if header.label_kind is not LabelKind.LOGITS:
            raise CodecFormatError(f"{self.name} rows give logits, not {header.label_kind}")
        self.width = width
        self.head: Head | None = None

    @abstractmethod
    def latents(self, rows: Rows) -> NDArray[np.float32]:
        """States of `rows`: float32, shape (N, d), newly allocated.

        Raises:
            As `check_rows`.
        """

    def with_head(self, head: Head) -> Self:
        """The same codec, which decodes by a head.

        Raises:
            CodecFormatError: the head has another width, or is of another vocabulary.
        """
        if (head.vocabulary, head.width) != (self.header.num_classes, self.width):
            raise CodecFormatError(
                f"the head turns states of {head.width} channels into {head.vocabulary} logits,"
                f" the rows hold {self.width} channels for {self.header.num_classes} tokens; use"
                " the teacher's own"
            )
        other = copy.copy(self)
        other.head = head
        return other

    def require_head(self) -> Head:
        """The head.

        Raises:
            CodecFormatError: there is none.
        """
        if self.head is None:
            raise CodecFormatError(
                "these rows are hidden states, and the teacher's head is not at hand; give it with"
                " label_set.use_head(head), or make the label set with its head"
            )
        return self.head

    def decode(self, rows: Rows, context: Rows | None = None) -> Labels:
        self._check_context(rows, context)
        return self.require_head().logits(self.latents(rows))

    @classmethod
    def golden_columns(cls, header: CodecHeader, config: Mapping[str, Any]) -> int:
        return integer(config, "width", 1, MAX_WIDTH)

    def golden_values(self, rows: Rows, context: Rows | None = None) -> Labels:
        self._check_context(rows, context)
        return self.latents(rows)
