"""What a student's sequences and a label set must agree on before a token is read."""

import warnings

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import PositionPolicy
from labelcast.errors import (
    ContractMismatchError,
    DifferentTokensError,
    InvalidRequestError,
)
from labelcast.identifiers import Digest
from labelcast.label_set import LabelContract, ViewIndex
from labelcast.label_set.fingerprints import FingerprintKind, SampleFingerprints
from labelcast.label_set.student_side import Unchecked
from labelcast.torch.tokens.data.sequences import TokenSequences
from labelcast.views import Views

_BLOCK = 2**20


class UncomparedTokensWarning(UserWarning):
    """A label set has no fingerprints of tokens: nobody can say whether they are the teacher's."""


def require_tokens(contract: LabelContract) -> None:
    """Refuse labels that are not of token positions.

    Raises:
        ContractMismatchError: they are of augmented views, or of samples as they are.
    """
    if not isinstance(contract.policy, PositionPolicy):
        raise ContractMismatchError(
            "these labels are not of token positions; use a label set of token sequences, and"
            " SoftLabelLoader for images",
            field="augmentation",
            expected=PositionPolicy().as_json(),
            actual=contract.policy,
        )


def require_same_tokenizer(
    contract: LabelContract, tokenizer: Digest | Unchecked, name: str = "the student's"
) -> None:
    """Refuse a student whose tokens are others than the teacher's.

    Args:
        contract: of the label set.
        tokenizer: digest of the student's tokenizer, from `tokenizer_digest`; UNCHECKED compares
            none.
        name: of the student's tokenizer, to show.

    Raises:
        ContractMismatchError: it is another, or the label set does not say which it is of.
    """
    if isinstance(tokenizer, Unchecked):
        return
    language = contract.language
    if language is None:
        raise ContractMismatchError(
            "the label set does not say which tokenizer its tokens are of; give"
            " tokenizer=UNCHECKED if you know that it is the student's",
            field="tokenizer",
            expected=tokenizer,
            actual="unknown",
        )
    if language.tokenizer != tokenizer:
        raise ContractMismatchError(
            f"the labels are of tokens of {language.tokenizer_name} ({language.tokenizer}), the"
            f" student's are of {name} ({tokenizer}); train a student with the teacher's tokenizer",
            field="tokenizer",
            expected=tokenizer,
            actual=language.tokenizer,
        )


def require_same_lengths(sequences: TokenSequences, index: ViewIndex) -> None:
    """Refuse samples that the label set lacks, or has with another number of tokens.

    Raises:
        ViewNotFoundError: the label set lacks a sample.
        DifferentTokensError: another number of tokens.
    """
    theirs = index.lengths(sequences.sample_ids)
    differs = np.flatnonzero(theirs != sequences.lengths)
    if len(differs):
        first = differs[0]
        sample_id = int(sequences.sample_ids[first])
        raise DifferentTokensError(
            f"sample ID {sample_id} has {sequences.lengths[first]} tokens, the teacher was shown"
            f" {theirs[first]} of it ({len(differs)} of {len(sequences)} samples differ). Cut texts"
            " and add special tokens as for the teacher",
            sample_id=sample_id,
        )


def counted_positions(
    sequences: TokenSequences, index: ViewIndex, *, count_last: bool
) -> NDArray[np.bool_]:
    """Positions whose labels are asked for: bool, shape (N,), newly allocated.

    Args:
        sequences: whose `counted` says which count; without, all that have a label.
        index: says which have one.
        count_last: whether the last position of a sample counts, which no token follows.

    Raises:
        InvalidRequestError: a position is said to count that has no label.
    """
    given = sequences.counted
    counted = np.ones(int(sequences.offsets[-1]), np.bool_) if given is None else given.copy()
    if not count_last:
        counted[sequences.offsets[1:] - 1] = False
    if all(part.num_rows == part.num_cells for part in index.segments):
        return counted
    for start in range(0, len(counted), _BLOCK):
        places = start + np.flatnonzero(counted[start : start + _BLOCK])
        views = _views_at(sequences, places)
        held = index.holds(views)
        if given is not None and not held.all():
            at = int(np.argmin(held))
            raise InvalidRequestError(
                f"position {views.seeds[at]} of sample ID {views.sample_ids[at]} is said to count,"
                " and has no label; leave such positions out of counted, or leave counted out"
            )
        counted[places] = held
    return counted


def fingerprints_to_compare(
    fingerprints: SampleFingerprints | None,
) -> SampleFingerprints | None:
    """Fingerprints of tokens; a warning where a label set has none."""
    if fingerprints is not None and fingerprints.kind is FingerprintKind.TOKENS:
        return fingerprints
    warnings.warn(
        "the label set has no fingerprints of the teacher's tokens, so that other tokens under the"
        " same sample IDs go unnoticed; fingerprints=UNCHECKED says that this is meant",
        UncomparedTokensWarning,
        stacklevel=1,
    )
    return None


def _views_at(sequences: TokenSequences, places: NDArray[np.int64]) -> Views:
    samples = np.searchsorted(sequences.offsets, places, side="right") - 1
    positions = (places - sequences.offsets[samples]).astype(np.uint32)
    return Views.taking(sequences.sample_ids[samples], positions)
