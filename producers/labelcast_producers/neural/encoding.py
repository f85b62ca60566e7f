"""Soft labels → packed rows: one contract for all codecs."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from labelcast.codec import (
    Codec,
    CodecHeader,
    LabelKind,
    RawCodec,
    Recovery,
    Rows,
    TemperatureRange,
    TopKCodec,
    VqaeCodec,
    pack_codes,
)
from labelcast.errors import LabelFileError, LabelValueError
from labelcast.torch.precision import exact_fp32
from labelcast_producers.dense.files import check_finite
from labelcast_producers.neural.autoencoder import VectorQuantizedAutoencoder, log_probabilities
from labelcast_producers.neural.compute import Compute
from labelcast_producers.neural.search.code_search import search_codes
from labelcast_producers.neural.search.linearised_search import LinearisedSearch

_BLOCK_BYTES = 2**26
_TRIAL_VALUES = 2**23
_SUM_TOLERANCE = 1e-2


class Encoder(ABC):
    """Writes rows that `codec` decodes.

    Every encoder MUST:
      * write rows that `codec.check_rows` accepts;
      * refuse NaN and infinity.
    """

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.num_classes = codec.header.num_classes

    @property
    def row_stride(self) -> int:
        """Bytes per row."""
        return self.codec.row_stride

    def encode(
        self, labels: NDArray[Any], context: Rows | None = None, *, first_row: int = 0
    ) -> Rows:
        """Encode soft labels.

        Args:
            labels: floating, shape (n, C).
            context: uint8, shape (n, context_stride), if the codec is conditioned; ignored if
                not.
            first_row: number of the first row in its file, for messages.

        Returns:
            uint8, shape (n, row_stride), in row order, newly allocated.

        Raises:
            LabelFileError: the labels have the wrong number of classes, are no floating numbers, or
                lack the context that the codec needs.
            LabelValueError: NaN, infinity, overflow of the codec's precision, or no
                probabilities; names the first such row.
        """
        if labels.ndim != 2 or labels.dtype.kind != "f":
            raise LabelFileError(
                f"labels must be floating, of shape (rows, {self.num_classes}), got"
                f" {labels.dtype} of shape {labels.shape}"
            )
        if labels.shape[1] != self.num_classes:
            raise LabelFileError(
                f"the codec has {self.num_classes} classes, the labels have {labels.shape[1]}"
            )
        stride = self.codec.context_stride
        if stride and (context is None or context.shape != (len(labels), stride)):
            raise LabelFileError(
                "this codec is conditioned on hard labels and views: encode a directory from"
                " `labelcast relabel`, or fit with --no-context"
            )
        check_finite(labels, np.arange(first_row, first_row + len(labels)))
        rows = np.empty((len(labels), self.row_stride), dtype=np.uint8)
        block = max(1, _BLOCK_BYTES // (16 * self.num_classes))
        for start in range(0, len(labels), block):
            part = slice(start, start + block)
            about = context[part] if stride and context is not None else None
            rows[part] = self._encode_block(labels[part], about, first_row + start)
        return rows

    @abstractmethod
    def _encode_block(self, labels: NDArray[Any], context: Rows | None, first_row: int) -> Rows:
        """Encode finite labels; `first_row` is the number of the first row, for messages."""


class RawEncoder(Encoder):
    """Keeps the values, in one precision."""

    def __init__(self, codec: RawCodec) -> None:
        super().__init__(codec)
        self._precision = codec.precision

    def _encode_block(self, labels: NDArray[Any], context: Rows | None, first_row: int) -> Rows:
        with np.errstate(over="ignore"):
            values = labels.astype(self._precision.dtype)
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            row = first_row + int(np.argmin(finite))
            raise LabelValueError(f"row {row} overflows {self._precision}; use fp32", row=row)
        return np.ascontiguousarray(values).view(np.uint8)


class TopKEncoder(Encoder):
    """Keeps the k likeliest classes: their probabilities at one temperature, or their logits.

    Args:
        num_classes: number of classes, C.
        k: classes kept per row.
        label_kind: kind of labels given to `encode`.
        temperature: softmax temperature applied to logits, or that probabilities already have; None
            keeps logits, which only `Recovery.RENORMALISE` can.
        recovery: what decoders do with the other classes.
        device: device for the softmax.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        k: int,
        label_kind: LabelKind,
        temperature: float | None = 1.0,
        recovery: Recovery = Recovery.SPREAD,
        device: torch.device | str = "cpu",
    ) -> None:
        ends = None if temperature is None else TemperatureRange(temperature, temperature)
        kept = LabelKind.PROBABILITIES if ends else LabelKind.LOGITS
        header = CodecHeader(num_classes, kept, ends)
        TopKCodec.tensor_specs(header, {"k": k, "recovery": str(recovery)})
        codec = TopKCodec(header, k, recovery)
        super().__init__(codec)
        self._id_dtype = codec.id_dtype
        self._k = k
        self._kind = label_kind
        self._temperature = temperature
        self._whole = recovery is not Recovery.ZERO
        self._device = torch.device(device)

    def _encode_block(self, labels: NDArray[Any], context: Rows | None, first_row: int) -> Rows:
        values = _tensor(labels).to(self._device)
        if self._kind is LabelKind.PROBABILITIES:
            values = _normalised(values, first_row, whole=self._whole)
        elif self._temperature is not None:
            values = torch.softmax(values / self._temperature, dim=1)
        top, ids = torch.topk(values, self._k, dim=1)
        kept = top.cpu().numpy()
        halves = kept.astype("<f2") if self._temperature is None else fp16_down(kept)
        id_bytes = ids.cpu().numpy().astype(self._id_dtype).view(np.uint8)
        return np.concatenate([id_bytes, halves.view(np.uint8)], axis=1)


@dataclass(frozen=True, slots=True)
class Search:
    """How thoroughly a VQAE encoder chooses codes.

    Attributes:
        candidates: codewords tried for each code; 1 takes the nearest.
        rounds: passes over the codes.
        compute: arithmetic of the trials.
        linearised: whether trials are judged by a linear model of the decoder, see
            `LinearisedSearch`, or each is decoded, see `search_codes`, as in files that do not say.
    """

    candidates: int = 3
    rounds: int = 1
    compute: Compute = Compute.AUTO
    linearised: bool = False


class VqaeEncoder(Encoder):
    """Chooses the codewords whose decoding resembles the label.

    Args:
        model: fitted network, on the encoding device, holding exactly the codebooks of `codec` (see
            `labelcast_producers.neural.export`).
        codec: decoding half.
        label_kind: kind of labels given to `encode`.
        temperature: softmax temperature of the fit.
        search: how thoroughly codes are chosen.
    """

    def __init__(
        self,
        model: VectorQuantizedAutoencoder,
        codec: VqaeCodec,
        *,
        label_kind: LabelKind,
        temperature: float,
        search: Search,
    ) -> None:
        super().__init__(codec)
        self.vqae = codec
        self.model = model.eval()
        self.label_kind = label_kind
        self.temperature = temperature
        self.search = search
        self._bits = codec.shape.bits
        self._device = model.quantizer.codebooks.device
        self._linearised: LinearisedSearch | None = None
        if search.linearised:
            self._linearised = LinearisedSearch(
                self.model,
                temperature=temperature,
                candidates=search.candidates,
                compute=search.compute,
            )

    @torch.no_grad()
    def choose(self, log_probabilities: torch.Tensor, context: torch.Tensor | None) -> torch.Tensor:
        """Codes of log-probabilities (n, C) at `temperature`: int64, shape (n, M).

        Args:
            log_probabilities: float32, shape (n, C).
            context: context from `model.context`.
        """
        if self._linearised is not None:
            compute = self.search.compute.resolve_for_search(self._device)
            with exact_fp32(self._device):
                # Latents only say where the search begins.
                with compute.autocast(self._device):
                    latents = self.model.latents(log_probabilities, context)
                return self._linearised.codes(
                    latents, log_probabilities, context, rounds=self.search.rounds
                )
        # All trials of a row are decoded at once.
        rows = max(1, _TRIAL_VALUES // (self.num_classes * self.search.candidates))
        codes = []
        with exact_fp32(self._device):
            for start in range(0, len(log_probabilities), rows):
                part = slice(start, start + rows)
                teacher = log_probabilities[part]
                about = None if context is None else context[part]
                codes.append(
                    search_codes(
                        self.model,
                        self.model.latents(teacher, about),
                        teacher,
                        about,
                        temperature=self.temperature,
                        candidates=self.search.candidates,
                        rounds=self.search.rounds,
                        compute=self.search.compute,
                    )
                )
        return torch.cat(codes)

    def _encode_block(self, labels: NDArray[Any], context: Rows | None, first_row: int) -> Rows:
        values = _tensor(labels).to(self._device)
        if self.label_kind is LabelKind.PROBABILITIES:
            values = _normalised(values, first_row)
        teacher = log_probabilities(values, self.label_kind, self.temperature)
        with exact_fp32(self._device), torch.no_grad():
            about = self.model.context(context_tensor(context, self._device))
        codes = self.choose(teacher, about)
        return pack_codes(codes.cpu().numpy(), bits=self._bits)


def context_tensor(context: Rows | None, device: torch.device) -> torch.Tensor | None:
    """Packed context rows as a tensor on a device."""
    return None if context is None else torch.from_numpy(context).to(device)


def _tensor(labels: NDArray[Any]) -> torch.Tensor:
    """The labels as float32; read-only memory, of which torch warns, is copied."""
    return torch.from_numpy(np.require(labels, np.float32, requirements=("C", "W")))


def _normalised(values: torch.Tensor, first_row: int, *, whole: bool = True) -> torch.Tensor:
    """Probabilities that sum to 1, despite a file's rounding; or to less if `whole` is False.

    Raises:
        LabelValueError: a value is negative, or a sum too far from 1 for rounding.
    """
    total = values.sum(dim=1, keepdim=True)
    off = total[:, 0] - 1
    off = off.abs() if whole else off
    bad = ((values < 0).any(dim=1) | (off > _SUM_TOLERANCE)).cpu().numpy()
    if bad.any():
        row = first_row + int(np.argmax(bad))
        raise LabelValueError(
            f"row {row} is no distribution (in 0…1 and summing to 1); are these logits?", row=row
        )
    return values / (total if whole else total.clamp(min=1))


def fp16_down(values: NDArray[np.float32]) -> NDArray[Any]:
    """Round non-negative values towards zero, so that what summed to at most 1 still does."""
    rounded = values.astype("<f2")
    return np.where(rounded > values, (rounded.view("<u2") - 1).view("<f2"), rounded)
