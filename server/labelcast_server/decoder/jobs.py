"""Rows that were asked for, and what becomes of them in the decoder process."""

import asyncio
from dataclasses import dataclass, field

import numpy as np

from labelcast.checksums import crc32
from labelcast.codec import Rows
from labelcast.representation import Form, Representation
from labelcast.torch.decoding import TorchDecoder
from labelcast_server.decoder.decode_rows import decode_rows
from labelcast_server.decoder.fair_queue import Pace, Part
from labelcast_server.decoder.protocol import pack_answer_head, pack_subject


@dataclass(frozen=True, eq=False, slots=True)
class Loaded:
    """A codec that is held, and how fast it is in each form.

    Attributes:
        decoder: on the device.
        paces: by form.
    """

    decoder: TorchDecoder
    paces: dict[Form, Pace] = field(default_factory=dict)

    @property
    def stride(self) -> int:
        """Bytes of a packed row with its context."""
        return self.decoder.row_stride + self.decoder.context_stride

    def label_bytes(self, representation: Representation, rows: int) -> int:
        """Bytes of the labels of `rows` rows."""
        header = self.decoder.header
        return rows * representation.row_stride(header.num_classes, self.decoder.row_stride)

    def pace(self, representation: Representation) -> Pace:
        """How many rows make a turn in this form."""
        if representation.form not in self.paces:
            self.paces[representation.form] = Pace(4 * self.decoder.header.num_classes)
        return self.paces[representation.form]


@dataclass(frozen=True, slots=True)
class Group:
    """What can be decoded together.

    Attributes:
        codec: digest.
        representation: form of the labels.
        loaded: the codec.
    """

    codec: str
    representation: Representation
    loaded: Loaded = field(compare=False)


class Job:
    """Rows to decode, and their labels as far as they are decoded.

    The checksum of the rows is of what came through the decoder, slice by slice, beside the labels
    that came out of it, and not of what was asked for: if rows were mixed up, it shows.

    Args:
        group: what it can be decoded together with.
        rows: uint8, shape (N, stride + context stride).

    Attributes:
        done: set when the last row is decoded.
        labels: N rows of the representation's stride.
    """

    def __init__(self, group: Group, rows: Rows) -> None:
        self.group = group
        self.rows = rows
        self.labels = bytearray(group.loaded.label_bytes(group.representation, len(rows)))
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._rows_crc32 = 0
        self._labels_crc32 = 0

    @property
    def count(self) -> int:
        """Rows."""
        return len(self.rows)

    def keep(self, start: int, rows: Rows, labels: Rows) -> None:
        """Take over the labels of a slice, the next in order.

        Args:
            start: first row of the slice.
            rows: as they were decoded.
            labels: uint8, shape (n, stride of the representation).
        """
        self._rows_crc32 = crc32(rows, self._rows_crc32)
        self._labels_crc32 = crc32(labels, self._labels_crc32)
        first = start * labels.shape[1]
        memoryview(self.labels)[first : first + labels.size] = labels.reshape(-1).data

    def answer_head(self) -> bytes:
        """What comes before the labels of the answer."""
        subject = pack_subject(self.group.codec, self.group.representation)
        return pack_answer_head(subject, self._rows_crc32, self._labels_crc32)


def decode(parts: list[Part[Job]]) -> None:
    """Decode rows of one group, and give every job its own.

    Raises:
        LabelcastError: some row is bad; no job was given anything.
    """
    group = parts[0].job.group
    rows = np.concatenate([part.job.rows[part.start : part.stop] for part in parts])
    labels = decode_rows(group.loaded.decoder, group.representation, rows)
    end = 0
    for part in parts:
        start, end = end, end + part.count
        part.job.keep(part.start, rows[start:end], labels[start:end])
