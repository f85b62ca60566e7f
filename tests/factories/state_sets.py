"""Label sets of hidden states, with their head or without, for any test that needs one.

states = States.make()
label_set = states.write(tmp_path, shipped=True)
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import CodecHeader, LabelKind, Rows
from labelcast.codec.latent import Head, HeadDtype, HeadSpec, head_digest
from labelcast.codec.latent.hidden import HiddenCodec, StatePrecision
from labelcast.label_set.language import LanguageContract, tokenizer_digest
from labelcast.label_set_directory import LabelSetDirectory
from labelcast_producers.encoding.sequence_set import SequenceSet, write_sequence_set
from tests.factories.sequence_sets import describe, token_ids

# Rows of 24 bytes, which do not fill a chunk of the usual size.
WIDTH, VOCABULARY = 12, 50


@dataclass(frozen=True, slots=True)
class States:
    """Hidden states of three sequences, and the head that makes logits of them."""

    described: SequenceSet
    codec: HiddenCodec
    rows: Rows
    head: Head

    @classmethod
    def make(cls, vocabulary: int = VOCABULARY, *, softcap: float | None = None) -> Self:
        random = np.random.default_rng(3)
        weights = random.normal(size=(vocabulary, WIDTH)).astype("<f2").view(np.uint8)
        digest = head_digest(vocabulary, WIDTH, HeadDtype.FP16, [weights])
        spec = HeadSpec(digest=digest, width=WIDTH, dtype=HeadDtype.FP16, softcap=softcap)
        tokens = [str(token) for token in range(vocabulary)]
        language = LanguageContract(
            tokenizer=tokenizer_digest(tokens), tokenizer_name="numbers", head=spec
        )
        header = CodecHeader(vocabulary, LabelKind.LOGITS, None)
        lengths = (5, 2, 9)
        return cls(
            describe(token_ids(lengths), language=language),
            HiddenCodec(header, WIDTH, StatePrecision.FP16),
            random.normal(size=(sum(lengths), WIDTH)).astype("<f2").view(np.uint8),
            Head(spec, [weights]),
        )

    @property
    def latents(self) -> NDArray[np.float32]:
        """The states themselves, in the order of the rows."""
        return self.rows.view("<f2").astype(np.float32)

    def write(self, out: Path, *, shipped: bool, head: Head | None = None) -> LabelSetDirectory:
        """Write their label set, with its head or without."""
        head = (head or self.head) if shipped else None
        return write_sequence_set(
            self.described, self.codec, [self.rows], out, report={}, head=head
        )
