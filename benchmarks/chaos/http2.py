"""As much of HTTP/2 (RFC 9113) as a proxy needs that withdraws streams: frame headers.

Frames are passed on whole and unchanged, which lets others be put between them. Header blocks are
never dropped: both ends of a connection compress them with a shared state.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
END_STREAM = 0x1
MAX_STREAM_ID = 2**31 - 1
_HEADER_BYTES = 9


class FrameType(IntEnum):
    """Of the frames that we look at or send."""

    DATA = 0
    HEADERS = 1
    RST_STREAM = 3
    GOAWAY = 7


class ErrorCode(IntEnum):
    """Why a stream or connection ends."""

    NO_ERROR = 0
    INTERNAL_ERROR = 2
    REFUSED_STREAM = 7
    CANCEL = 8
    ENHANCE_YOUR_CALM = 11


@dataclass(frozen=True, slots=True)
class Frame:
    """Header of a frame.

    Attributes:
        type: which; may be one that `FrameType` lacks.
        flags: by type.
        stream: 0 for the connection itself.
    """

    type: int
    flags: int
    stream: int

    @property
    def ends_stream(self) -> bool:
        """Whether its sender says no more on that stream."""
        carries = self.type in (FrameType.DATA, FrameType.HEADERS)
        return (carries and bool(self.flags & END_STREAM)) or self.type == FrameType.RST_STREAM


class FrameCutter:
    """Cuts a byte stream where frames end.

    Args:
        preface: whether the stream begins with the client's preface.
    """

    def __init__(self, *, preface: bool) -> None:
        self._rest = bytearray()
        self._preface = len(PREFACE) if preface else 0

    def feed(self, content: bytes) -> tuple[bytes, list[Frame]]:
        """What is whole by now.

        Returns:
            Bytes up to the end of the last whole frame, and the headers of the frames therein.
        """
        self._rest += content
        if len(self._rest) < self._preface:
            return b"", []
        found = list(self._whole(self._preface))
        end = found[-1][1] if found else self._preface
        whole = bytes(self._rest[:end])
        del self._rest[:end]
        self._preface = 0
        return whole, [frame for frame, _ in found]

    def _whole(self, at: int) -> Iterator[tuple[Frame, int]]:
        while at + _HEADER_BYTES <= len(self._rest):
            high, low, kind, flags, stream = struct.unpack_from(">BHBBI", self._rest, at)
            at += _HEADER_BYTES + (high << 16 | low)
            if at > len(self._rest):
                return
            yield Frame(kind, flags, stream & MAX_STREAM_ID), at


def goaway(last_stream: int, error: ErrorCode = ErrorCode.NO_ERROR) -> bytes:
    """No stream above `last_stream` has been or will be looked at: they may be tried elsewhere."""
    return _frame(FrameType.GOAWAY, 0, struct.pack(">II", last_stream, error))


def rst_stream(stream: int, error: ErrorCode) -> bytes:
    """One stream ends here."""
    return _frame(FrameType.RST_STREAM, stream, struct.pack(">I", error))


def _frame(kind: FrameType, stream: int, payload: bytes) -> bytes:
    size = len(payload)
    return struct.pack(">BHBBI", size >> 16, size & 0xFFFF, kind, 0, stream) + payload
