"""What one message of a reply carries."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive rows of a reply.

    Attributes:
        count: number of rows.
        payload: count × stride bytes, which nobody changes.
        payload_crc32: CRC-32 of the payload.
        subject_crc32: CRC-32 of the rows' views, see `labelcast.answer_subject`.
    """

    count: int
    payload: bytes | memoryview
    payload_crc32: int
    subject_crc32: int
