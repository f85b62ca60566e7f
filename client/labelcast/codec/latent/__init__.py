"""Codecs whose rows hold a teacher's last hidden states, and the head that makes labels of them."""

from labelcast.codec.latent.base import LatentCodec
from labelcast.codec.latent.head import Head, HeadDtype, HeadHasher, HeadSpec, head_digest
from labelcast.codec.latent.hidden import HiddenCodec, StatePrecision

__all__ = [
    "Head",
    "HeadDtype",
    "HeadHasher",
    "HeadSpec",
    "HiddenCodec",
    "LatentCodec",
    "StatePrecision",
    "head_digest",
]
