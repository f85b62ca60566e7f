"""Of labels that are still rows only what is needed: the likeliest tokens, some, or states."""

from collections.abc import Iterator

import torch
from torch import Tensor

from labelcast.codec import LabelKind
from labelcast.errors import CodecFormatError, CodeRangeError, InvalidRequestError
from labelcast.torch.coded_labels import CodedLabels
from labelcast.torch.tokens.decoders import LatentDecoder

# Labels of one slice of tokens.
SLICE_BYTES = 2**25


class TokenReadout:
    """Reads labels a slice of tokens at a time: labels of all never exist at once.

    Args:
        codes: labels of T tokens, from `label_set.code_reader()`.
        temperature: softmax temperature; probabilities have their own.
        slice_bytes: bytes of the labels of a slice; one label at least.
    """

    def __init__(
        self, codes: CodedLabels, *, temperature: float = 1.0, slice_bytes: int = SLICE_BYTES
    ) -> None:
        self._codes, self._temperature = codes, temperature
        self._vocabulary = codes.decoder.header.num_classes
        self._slice_rows = max(1, slice_bytes // (4 * self._vocabulary))

    def latents(self) -> Tensor:
        """The teacher's states: float32, shape (T, d).

        Raises:
            CodecFormatError: the rows hold none. Otherwise as `TorchDecoder.decode`.
        """
        decoder = self._codes.decoder
        if not isinstance(decoder, LatentDecoder):
            raise CodecFormatError(f"{decoder.name} rows hold no states")
        return decoder.latents(self._codes.rows)

    def top_k(self, k: int) -> tuple[Tensor, Tensor]:
        """The likeliest tokens, those of lower ID first where several are as likely.

        Returns:
            int64 and float32, each of shape (T, k): tokens and log-probabilities, the likeliest
            first.

        Raises:
            InvalidRequestError: the vocabulary has fewer tokens, or k is below 1.
            Those of `TorchDecoder.decode`.
        """
        if not 1 <= k <= self._vocabulary:
            raise InvalidRequestError(f"k is {k}, must be 1 to {self._vocabulary}")
        found = [_likeliest(part, k) for _, part in self._log_probabilities()]
        device = self._codes.rows.device
        ids = [torch.empty((0, k), dtype=torch.int64, device=device), *(each for each, _ in found)]
        values = [torch.empty((0, k), device=device), *(each for _, each in found)]
        return torch.cat(ids), torch.cat(values)

    def log_probabilities_at(self, ids: Tensor) -> Tensor:
        """Log-probabilities of given tokens: float32, shape (T, m); −inf for what is excluded.

        Args:
            ids: int64, shape (T, m), on the device of the codes.

        Raises:
            InvalidRequestError: not a row of tokens for each label.
            CodeRangeError: a token outside the vocabulary.
            Those of `TorchDecoder.decode`.
        """
        if ids.ndim != 2 or len(ids) != len(self._codes) or ids.dtype is not torch.int64:
            raise InvalidRequestError(
                f"tokens are {ids.dtype} of shape {tuple(ids.shape)}, must be int64 of shape"
                f" ({len(self._codes)}, m)"
            )
        if bool(((ids < 0) | (ids >= self._vocabulary)).any()):
            raise CodeRangeError(
                f"a token ID is outside the vocabulary of {self._vocabulary} tokens"
            )
        found = torch.empty(ids.shape, device=ids.device)
        for part, log_shares in self._log_probabilities():
            found[part] = log_shares.gather(1, ids[part])
        return found

    def _log_probabilities(self) -> Iterator[tuple[slice, Tensor]]:
        logits = self._codes.decoder.header.label_kind is LabelKind.LOGITS
        for start in range(0, len(self._codes), self._slice_rows):
            part = slice(start, min(start + self._slice_rows, len(self._codes)))
            labels = self._codes.decode(part)
            if logits:
                yield part, torch.log_softmax(labels.div_(self._temperature), dim=1)
            else:
                yield part, labels.log_()


def _likeliest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    # `topk` may take any of equal values; where they straddle the end, the lower IDs are chosen.
    least = values.topk(k, dim=1).values[:, -1:]
    above, equal = values > least, values == least
    room = k - above.sum(dim=1, keepdim=True)
    chosen = above | (equal & (equal.cumsum(dim=1) <= room))
    ids = chosen.nonzero()[:, 1].view(-1, k)
    kept, order = values.gather(1, ids).sort(dim=1, descending=True, stable=True)
    return ids.gather(1, order), kept
