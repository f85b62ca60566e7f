"""A connection that speaks HTTP/2: it can withdraw streams as a proxy does that is reloaded.

A stream is young until the service has sent its first header. Until then gRPC may replay what has
been written to it, on another connection and without telling anybody.
"""

import asyncio
import socket
from dataclasses import dataclass, field
from typing import Literal

from benchmarks.chaos.http2 import (
    MAX_STREAM_ID,
    ErrorCode,
    Frame,
    FrameCutter,
    FrameType,
    goaway,
    rst_stream,
)
from benchmarks.chaos.proxy import Connection, Pipe

Withdrawal = Literal["goaway", "rst_stream", "cut"]
# A client that has no more to say on a young stream springs no trap.
_PATIENCE_SECONDS = 0.25


class FramedPipe(Pipe):
    """Passes frames on whole.

    Args:
        source: read from.
        sink: written to.
        owner: is told of every frame.
    """

    def __init__(
        self, source: socket.socket, sink: socket.socket, owner: "GrpcConnection", *, up: bool
    ) -> None:
        super().__init__(source, sink)
        self._owner = owner
        self._is_up = up
        self._cutter = FrameCutter(preface=up)

    async def forward(self, content: bytes) -> None:
        whole, frames = self._cutter.feed(content)
        if not whole:
            return
        if self._is_up:
            self._owner.note_opened(frames)
            await super().forward(whole)
            await self._owner.note_said(frames)
        else:
            await super().forward(whole)
            self._owner.note_answered(frames)


@dataclass
class _Ambush:
    """Waits for a young stream.

    Attributes:
        kind: what happens to it.
        data_frames: of the client, which are let through first.
        sprung: set when it has happened.
        stream: once there is one.
        left: data frames to let through.
    """

    kind: Withdrawal
    data_frames: int
    sprung: asyncio.Event = field(default_factory=asyncio.Event)
    stream: int = 0
    left: int = 0


class GrpcConnection(Connection):
    """A connection between a gRPC client and its service."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        super().__init__(near, far)
        self.streams: set[int] = set()
        self.highest_stream = 0
        self._ambush: _Ambush | None = None
        self._later: asyncio.Task[None] | None = None  # Kept, lest it be collected.

    def _pipe(self, source: socket.socket, sink: socket.socket) -> Pipe:
        return FramedPipe(source, sink, self, up=source is self._near)

    async def drain(self) -> None:
        """GOAWAY as a server sends it that is about to leave: what runs may end."""
        await self.down.inject(goaway(MAX_STREAM_ID))
        await self.down.inject(goaway(self.highest_stream))

    async def refuse_newest(self) -> None:
        """GOAWAY below the newest stream: it was not looked at and may be tried elsewhere."""
        newest = self.highest_stream
        await self.down.inject(goaway(max(0, newest - 2)))
        await self._withdraw_upwards(newest)

    async def reset_stream(self, stream: int, error: ErrorCode) -> None:
        """End one stream on both sides."""
        await self.down.inject(rst_stream(stream, error))
        await self._withdraw_upwards(stream)

    def ambush(self, kind: Withdrawal, *, data_frames: int) -> asyncio.Event:
        """Withdraw the next stream while it is young.

        The service's answers are held back from its first frame on, as on a slow way back.

        Args:
            kind: how.
            data_frames: of the client, which pass first.

        Returns:
            Is set when it has happened.
        """
        self._ambush = _Ambush(kind, data_frames)
        return self._ambush.sprung

    def call_off(self) -> None:
        """Take an ambush away that has met nobody."""
        if self._ambush is not None and not self._ambush.stream:
            self._ambush = None

    def note_opened(self, frames: list[Frame]) -> None:
        """Frames of the client, before they are passed on."""
        for frame in frames:
            if frame.type != FrameType.HEADERS or frame.stream <= self.highest_stream:
                continue
            self.highest_stream = frame.stream
            self.streams.add(frame.stream)
            if self._ambush is not None and not self._ambush.stream:
                self._ambush.stream, self._ambush.left = frame.stream, self._ambush.data_frames
                self.down.hold()
                self._later = asyncio.create_task(self._spring_later(self._ambush, frame.stream))

    async def note_said(self, frames: list[Frame]) -> None:
        """Frames of the client, which have been passed on."""
        ambush = self._ambush
        if ambush is None or not ambush.stream:
            return
        said = [f for f in frames if f.stream == ambush.stream and f.type == FrameType.DATA]
        ambush.left -= len(said)
        if ambush.left <= 0:
            await self._spring(ambush)
        elif any(frame.ends_stream for frame in said):
            # A unary call, or a short stream: on to the next one.
            ambush.stream = 0
            self.down.release()

    def note_answered(self, frames: list[Frame]) -> None:
        """Frames of the service."""
        for frame in frames:
            if frame.ends_stream:
                self.streams.discard(frame.stream)

    async def _spring_later(self, ambush: _Ambush, stream: int) -> None:
        await asyncio.sleep(_PATIENCE_SECONDS)
        if ambush.stream == stream and not self.closed.is_set():
            await self._spring(ambush)

    async def _spring(self, ambush: _Ambush) -> None:
        if self._ambush is not ambush:
            return
        self._ambush = None
        ambush.sprung.set()
        if ambush.kind == "cut":
            # Nothing that is held may slip through before the connection is gone.
            self.cut(reset=True)
            return
        try:
            if ambush.kind == "goaway":
                await self.down.inject(goaway(max(0, ambush.stream - 2)))
                await self._withdraw_upwards(ambush.stream)
            else:
                await self.reset_stream(ambush.stream, ErrorCode.REFUSED_STREAM)
        finally:
            self.down.release()

    async def _withdraw_upwards(self, stream: int) -> None:
        # What the client has been told was not looked at must not be worked on.
        if stream:
            await self.up.inject(rst_stream(stream, ErrorCode.CANCEL))
            self.streams.discard(stream)
