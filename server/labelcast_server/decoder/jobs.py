"""Decoding jobs: the rows that were requested, and their labels."""

import asyncio
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from labelcast.checksums import crc32
from labelcast.codec import Rows
from labelcast.codec.latent import Head
from labelcast.identifiers import Digest
from labelcast.representation import Form, Representation
from labelcast.torch.decoding import TorchDecoder
from labelcast_server.decoder.decode_rows import decode_rows
from labelcast_server.decoder.fair_queue import Pace, Part
from labelcast_server.decoder.landing import Landing
from labelcast_server.decoder.protocol import NO_PLACE, pack_answer_head, pack_subject
from labelcast_server.decoder.shared_memory import Slot


@dataclass(frozen=True, eq=False, slots=True)
class Loaded:
    """A loaded codec, and how fast it decodes to each form.

    Attributes:
        decoder: decoder of the codec, on the device.
        head_bytes: memory that its head takes; 0 without.
        paces: pace of each form.
    """

    decoder: TorchDecoder
    head_bytes: int = 0
    paces: dict[Form, Pace] = field(default_factory=dict)

    @classmethod
    def of(cls, decoder: TorchDecoder, head: Head | None) -> Self:
        """A decoder with its head."""
        parts = () if head is None else head.parts
        return cls(decoder, sum(part.nbytes for part in parts))

    @property
    def stride(self) -> int:
        """Size in bytes of a packed row with its context."""
        return self.decoder.row_stride + self.decoder.context_stride

    def label_bytes(self, representation: Representation, rows: int) -> int:
        """Size in bytes of the labels of `rows` rows."""
        header = self.decoder.header
        return rows * representation.row_stride(header.num_classes, self.decoder.row_stride)

    def pace(self, representation: Representation) -> Pace:
        """How many rows make a turn in this form."""
        if representation.form not in self.paces:
            self.paces[representation.form] = Pace(4 * self.decoder.header.num_classes)
        return self.paces[representation.form]


@dataclass(frozen=True, slots=True)
class Group:
    """Jobs that can be decoded together.

    Attributes:
        codec: digest of the codec.
        representation: form of the labels.
        loaded: the codec.
    """

    codec: Digest
    representation: Representation
    loaded: Loaded = field(compare=False)


class Job:
    """Rows to decode, and the labels decoded so far.

    The rows' checksum covers the rows that went through the decoder, slice by slice beside the
    labels that came out, and not the rows that were requested: mixed-up rows show in it.

    Args:
        group: jobs that it can be decoded together with.
        rows: uint8, shape (N, stride + context stride).
        slot: shared memory for the labels; None to keep them here.

    Attributes:
        done: set when the last row is decoded.
        labels: N labels, each of the representation's stride.
    """

    def __init__(self, group: Group, rows: Rows, slot: Slot | None = None) -> None:
        self.group = group
        self.rows = rows
        size = group.loaded.label_bytes(group.representation, len(rows))
        self.labels = memoryview(bytearray(size)) if slot is None else slot.labels
        self._place = NO_PLACE if slot is None else slot.place
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._rows_crc32 = 0
        self._labels_crc32 = 0

    @property
    def count(self) -> int:
        """Rows."""
        return len(self.rows)

    def keep(self, start: int, rows: Rows, labels: Rows) -> None:
        """Store the labels of a slice, the next in order.

        Args:
            start: first row of the slice.
            rows: the rows that were decoded.
            labels: uint8, shape (n, stride of the representation).
        """
        self._rows_crc32 = crc32(rows, self._rows_crc32)
        self._labels_crc32 = crc32(labels, self._labels_crc32)
        first = start * labels.shape[1]
        self.labels[first : first + labels.size] = labels.reshape(-1).data

    def answer_head(self) -> bytes:
        """The part of the answer before its labels."""
        subject = pack_subject(self.group.codec, self.group.representation, self._place)
        return pack_answer_head(subject, self._rows_crc32, self._labels_crc32)


def decode(parts: list[Part[Job]], landing: Landing) -> tuple[Rows, Rows]:
    """Decode rows of one group together.

    Args:
        parts: parts of jobs, in the order in which `keep` gives them their labels.
        landing: where the labels arrive.

    Returns:
        The rows that were decoded and their labels, both uint8, shape (N, their stride).

    Raises:
        LabelcastError: a row is bad.
    """
    group = parts[0].job.group
    rows = np.concatenate([part.job.rows[part.start : part.stop] for part in parts])
    decoder, representation = group.loaded.decoder, group.representation
    return rows, decode_rows(decoder, representation, rows, landing=landing)


def keep(parts: list[Part[Job]], rows: Rows, labels: Rows) -> None:
    """Give each job its own labels.

    Args:
        parts: as given to `decode`.
        rows: as `decode` returned them.
        labels: as `decode` returned them.
    """
    end = 0
    for part in parts:
        start, end = end, end + part.count
        part.job.keep(part.start, rows[start:end], labels[start:end])
