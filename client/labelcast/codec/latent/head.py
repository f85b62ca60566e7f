"""The head: the last layer of a language model, which turns a hidden state into logits.

A head of 128,000 tokens and 4,096 channels takes a gigabyte. It is therefore never part of a
codec's artifact, is mapped rather than read, and is used a slice of the vocabulary at a time.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import CodecFormatError
from labelcast.identifiers import Digest, digest_from_hash

MAX_WIDTH = 2**16
# Rows of the head whose values are widened to fp32 at once.
_SLICE_BYTES = 2**22

HeadRows: TypeAlias = NDArray[np.uint8]
"""Consecutive rows of a head as stored: uint8, shape (rows, stride)."""


class HeadDtype(StrEnum):
    """Type of a head's values, little-endian."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"

    @property
    def itemsize(self) -> int:
        """Bytes of one value."""
        return 4 if self is HeadDtype.FP32 else 2

    def widened(self, values: HeadRows) -> NDArray[np.float32]:
        """Values of packed bytes: float32, newly allocated, shape (rows, stride / itemsize)."""
        values = np.ascontiguousarray(values)
        if self is HeadDtype.BF16:
            # The upper half of an fp32 number.
            return (
                (values.view("<u2").astype("<u4") << 16).view("<f4").astype(np.float32, copy=False)
            )
        return values.view("<f4" if self is HeadDtype.FP32 else "<f2").astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSpec:
    """What identifies a head, and what becomes of its products.

    The logits of a state h are softcap(scale · (W h + b)), with softcap(x) = c · tanh(x / c).

    Attributes:
        digest: digest of the values, from `head_digest`.
        width: channels of a state, d.
        dtype: type of the values.
        bias: whether each row ends with a bias, after its d weights.
        scale: factor of the products, such as Cohere's `logit_scale`.
        softcap: bound c of the logits, such as Gemma 2's `final_logit_softcapping`; None for none.

    Raises:
        CodecFormatError: a number out of range.
    """

    digest: Digest
    width: int
    dtype: HeadDtype
    bias: bool = False
    scale: float = 1.0
    softcap: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.width <= MAX_WIDTH:
            raise CodecFormatError(f"a head's width is {self.width}, must be 1 to {MAX_WIDTH}")
        if not (math.isfinite(self.scale) and self.scale):
            raise CodecFormatError(f"a head's scale is {self.scale}, must be finite and not 0")
        if self.softcap is not None and not 0 < self.softcap < math.inf:
            raise CodecFormatError(f"a head's softcap is {self.softcap}, must be above 0")

    @property
    def stride(self) -> int:
        """Bytes of one row: d weights, and the bias if there is one."""
        return (self.width + self.bias) * self.dtype.itemsize


def head_digest(
    vocabulary: int, width: int, dtype: HeadDtype, parts: Iterable[HeadRows], *, bias: bool = False
) -> Digest:
    """Digest of a head: sha256 over its shape and type, then its values as they are used.

    Args:
        vocabulary: tokens, V.
        width: channels, d.
        dtype: type of the values.
        parts: rows in the order of the tokens, as `HeadSpec` has them: uint8, shape (n, stride).
        bias: whether rows end with a bias.
    """
    hasher = HeadHasher(vocabulary, width, dtype, bias=bias)
    for part in parts:
        hasher.add(part)
    return hasher.digest()


class HeadHasher:
    """Makes the digest of a head whose rows come a part at a time; see `head_digest`."""

    def __init__(self, vocabulary: int, width: int, dtype: HeadDtype, *, bias: bool) -> None:
        shape = {"bias": bias, "dtype": str(dtype), "shape": [vocabulary, width]}
        self._content = hashlib.sha256(
            json.dumps(shape, sort_keys=True, separators=(",", ":")).encode()
        )

    def add(self, part: HeadRows) -> None:
        """Add the rows that come next: uint8, shape (n, stride)."""
        self._content.update(np.ascontiguousarray(part).data)

    def digest(self) -> Digest:
        """Digest of all rows."""
        return digest_from_hash(self._content.digest())


class Head:
    """A head whose values are at hand.

    Args:
        spec: what it must be.
        parts: rows in the order of the tokens: uint8, shape (n, stride) each; may be mapped files.

    Raises:
        CodecFormatError: a part of another stride, or no rows at all.
    """

    def __init__(self, spec: HeadSpec, parts: Sequence[HeadRows]) -> None:
        for part in parts:
            if part.dtype != np.uint8 or part.ndim != 2 or part.shape[1] != spec.stride:
                raise CodecFormatError(
                    f"rows of this head must be uint8 of shape (n, {spec.stride}), got"
                    f" {part.dtype} of shape {part.shape}"
                )
        self.spec = spec
        self.parts = tuple(parts)
        self.vocabulary = sum(len(part) for part in parts)
        """Tokens, V."""
        if not self.vocabulary:
            raise CodecFormatError("a head has a row for each token, and this one has none")

    def __repr__(self) -> str:
        return f"<Head of {self.vocabulary:,} tokens × {self.width}, {self.spec.dtype}>"

    @property
    def width(self) -> int:
        """Channels of a state, d."""
        return self.spec.width

    def verify(self) -> None:
        """Compare every value with the digest; reads the whole head.

        Raises:
            CodecFormatError: it is another head.
        """
        spec = self.spec
        found = head_digest(self.vocabulary, spec.width, spec.dtype, self.parts, bias=spec.bias)
        if found != spec.digest:
            raise CodecFormatError(
                f"this head of {self.vocabulary} tokens is {found}, the labels were made with"
                f" {spec.digest}; use the teacher's own",
            )

    def weights(self, start: int, stop: int) -> NDArray[np.float32]:
        """Weights of some tokens: float32, shape (stop − start, d), newly allocated."""
        return self._values(start, stop)[:, : self.width]

    def bias(self, start: int, stop: int) -> NDArray[np.float32] | None:
        """Biases of some tokens: float32, shape (stop − start,); None if there are none."""
        return self._values(start, stop)[:, self.width] if self.spec.bias else None

    def logits(
        self, states: NDArray[np.float32], start: int = 0, stop: int | None = None
    ) -> NDArray[np.float32]:
        """Logits of states, of all tokens or of consecutive ones.

        Args:
            states: float32, shape (N, d).
            start: first token.
            stop: token before which to end; None for the vocabulary's end.

        Returns:
            float32, shape (N, stop − start), newly allocated.
        """
        stop = self.vocabulary if stop is None else stop
        logits = np.empty((len(states), stop - start), dtype=np.float32)
        for low, high in self.slices(start, stop):
            values = self._values(low, high)
            part = logits[:, low - start : high - start]
            np.matmul(states, values[:, : self.width].T, out=part)
            if self.spec.bias:
                part += values[:, self.width]
        return self._scaled(logits)

    def logits_of(self, states: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Logits of a few tokens of each state.

        Args:
            states: float32, shape (N, d).
            ids: int64, shape (N, m): tokens.

        Returns:
            float32, shape (N, m), newly allocated.
        """
        logits = np.empty(ids.shape, dtype=np.float32)
        block = max(1, _SLICE_BYTES // (4 * self.spec.stride * max(1, ids.shape[1])))
        for low in range(0, len(ids), block):
            values = self._gathered(ids[low : low + block])
            part = logits[low : low + block]
            np.einsum("nd,nmd->nm", states[low : low + block], values[..., : self.width], out=part)
            if self.spec.bias:
                part += values[..., self.width]
        return self._scaled(logits)

    def slices(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Ranges of tokens whose values fit into a few megabytes."""
        step = max(1, _SLICE_BYTES // (4 * (self.width + self.spec.bias)))
        for low in range(start, stop, step):
            yield low, min(low + step, stop)

    def _values(self, start: int, stop: int) -> NDArray[np.float32]:
        """Widened rows: float32, shape (stop − start, d or d + 1)."""
        found, first = list[HeadRows](), 0
        for part in self.parts:
            low, high = max(start - first, 0), min(stop - first, len(part))
            if low < high:
                found.append(part[low:high])
            first += len(part)
        return self.spec.dtype.widened(found[0] if len(found) == 1 else np.concatenate(found))

    def _gathered(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Widened rows of some tokens: float32, shape (*ids.shape, d or d + 1)."""
        flat = ids.reshape(-1)
        rows = np.empty((len(flat), self.spec.stride), dtype=np.uint8)
        first = 0
        for part in self.parts:
            inside = np.flatnonzero((flat >= first) & (flat < first + len(part)))
            rows[inside] = part[flat[inside] - first]
            first += len(part)
        return self.spec.dtype.widened(rows).reshape(*ids.shape, -1)

    def _scaled(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        spec = self.spec
        if spec.scale != 1:
            logits *= np.float32(spec.scale)
        if spec.softcap is not None:
            cap: Any = np.float32(spec.softcap)
            logits /= cap
            np.tanh(logits, out=logits)
            logits *= cap
        return logits
