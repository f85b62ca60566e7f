"""Heads of label sets: shipped as rows in shards, or given by whoever has the teacher."""

from collections.abc import Sequence

import numpy as np

from labelcast.codec import Rows
from labelcast.codec.latent import Head, HeadSpec
from labelcast.errors import CodecFormatError, InvalidRequestError
from labelcast.label_set import Manifest, Shard


def shard_rows(shard: Shard, content: bytes) -> Rows:
    """Rows of a shard whose content was read and verified: uint8, shape (rows, stride)."""
    return np.frombuffer(content, dtype=np.uint8).reshape(shard.rows, -1)


def open_head(manifest: Manifest, parts: Sequence[Rows]) -> Head:
    """The head that a label set has.

    Args:
        manifest: manifest.
        parts: rows of the shards of `manifest.head`: uint8, shape (n, stride) each.

    Raises:
        CodecFormatError: its values are not those that the contract names.
    """
    head = Head(_spec(manifest), parts)
    head.verify()
    return head


def named_head(manifest: Manifest, head: Head) -> Head:
    """A given head, if it is the one that the contract names.

    Raises:
        CodecFormatError: it is another.
        InvalidRequestError: the labels need none.
    """
    if not isinstance(head, Head):
        raise InvalidRequestError(
            f"a head must be a Head, not {type(head).__name__}; make it of the teacher with"
            " labelcast.torch.model_head(teacher, num_classes)"
        )
    given = Head(_spec(manifest), head.parts)
    if given.vocabulary != manifest.contract.num_classes:
        raise CodecFormatError(
            f"the head has {given.vocabulary} tokens, the labels are of"
            f" {manifest.contract.num_classes}; use the teacher's own, without padding"
        )
    given.verify()
    return given


def _spec(manifest: Manifest) -> HeadSpec:
    language = manifest.contract.language
    if language is None or language.head is None:
        raise InvalidRequestError("these labels need no head; decode them without")
    return language.head
