"""FORMAT.md on sequences, step by step: the digests of a tokenizer and of a head."""

import hashlib
import struct

import numpy as np

from labelcast.codec.latent import HeadDtype, head_digest
from labelcast.label_set.fingerprints import token_fingerprint
from labelcast.label_set.language import tokenizer_digest


def test_a_tokenizer_is_its_tokens_in_the_order_of_their_ids() -> None:
    content = b"labelcast tokenizer\0"
    for token in (b"a", b"", "Ġé".encode(), b"\xed\xb2\x80"):
        content += struct.pack("<I", len(token)) + token
    wanted = f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert tokenizer_digest(["a", None, "Ġé", "\udc80"]) == wanted


def test_a_head_is_its_shape_and_its_rows() -> None:
    rows = np.arange(24, dtype=np.uint8).reshape(4, 6)
    content = b'{"bias":true,"dtype":"bf16","shape":[4,2]}' + rows.tobytes()
    wanted = f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert head_digest(4, 2, HeadDtype.BF16, [rows[:1], rows[1:]], bias=True) == wanted


def test_a_sequence_is_its_token_ids() -> None:
    content = struct.pack("<3I", 7, 0, 262_143)
    wanted = struct.unpack("<Q", hashlib.sha256(content).digest()[:8])[0]
    assert token_fingerprint(np.array([7, 0, 262_143], dtype=np.int64)) == wanted
