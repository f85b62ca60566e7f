"""Tokens that are compared with the teacher's when they are first shown to a student."""

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import ContractMismatchError, DifferentTokensError
from labelcast.label_set.fingerprints import SampleFingerprints, token_fingerprint
from labelcast.torch.tokens.data.sequences import TokenSequences


class ShownTokens:
    """Refuses a sample that is not the one that the labels were made of.

    A sample is compared as a whole when this process first reads any of it, and never again.

    Args:
        sequences: samples.
        vocabulary: tokens of the tokenizer, V.
        fingerprints: those of the label set; None to compare none.
    """

    def __init__(
        self,
        sequences: TokenSequences,
        *,
        vocabulary: int,
        fingerprints: SampleFingerprints | None,
    ) -> None:
        self._sequences = sequences
        self._vocabulary = vocabulary
        self._fingerprints = fingerprints
        # A worker's copy is its own.
        self._done = np.zeros(len(sequences), dtype=np.bool_)

    def check(self, sample: int) -> None:
        """Compare a sample, given by its place, unless that was done before.

        Raises:
            DifferentTokensError: its tokens are not those that the teacher was shown.
            ContractMismatchError: a token is outside the vocabulary.
        """
        if self._done[sample]:
            return
        tokens = self._sequences.part(sample)
        sample_ids = self._sequences.sample_ids[sample : sample + 1]
        largest = int(tokens.max())
        if largest >= self._vocabulary:
            raise ContractMismatchError(
                f"sample ID {sample_ids[0]} has the token {largest}, and the label set's tokenizer"
                f" {self._vocabulary} tokens; use the tokenizer that the labels were made with",
                field="vocabulary",
                expected=largest + 1,
                actual=self._vocabulary,
            )
        self._compare(tokens, sample_ids)
        self._done[sample] = True

    def _compare(self, tokens: NDArray[np.uint32], sample_ids: NDArray[np.uint64]) -> None:
        known = self._fingerprints
        if known is None or token_fingerprint(tokens) == int(known.of(sample_ids)[0]):
            return
        raise DifferentTokensError(
            f"the {len(tokens)} tokens of sample ID {sample_ids[0]} are not those that the labels"
            " were made of. Use the text, tokenizer and cutting that the teacher's tokens were made"
            " with; or make labels of these",
            sample_id=int(sample_ids[0]),
        )
