"""The proxy of the chaos suite does what it says, byte by byte; gRPC sees its GOAWAY."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from benchmarks.chaos.grpc_proxy import GrpcConnection
from benchmarks.chaos.http2 import (
    PREFACE,
    ErrorCode,
    Frame,
    FrameCutter,
    FrameType,
    goaway,
    rst_stream,
)
from benchmarks.chaos.proxy import Connection, Link, flipping, to_path, to_port

_SECONDS = 60
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def echo_through_a_link() -> AsyncIterator[tuple[Link, Ends, Connection]]:
    """A client of an echo, and the connection of the proxy between them."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while content := await reader.read(2**16):
                writer.write(content)
                await writer.drain()
            writer.write(b"bye")
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    link = Link("echo", to_port(lambda: server.sockets[0].getsockname()[1]))
    reader, writer = await asyncio.open_connection("127.0.0.1", await link.listen_tcp())
    try:
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        (connection,) = link.connections
        yield link, (reader, writer), connection
    finally:
        writer.close()
        await link.close()
        server.close()


async def everything(reader: asyncio.StreamReader) -> bytes:
    """What comes until the end, be it in order or not."""
    content = b""
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(2**16):
            content += piece
    return content


async def test_bytes_pass_unchanged() -> None:
    sent = bytes(range(256)) * 4000
    async with asyncio.timeout(_SECONDS), echo_through_a_link() as (_, (reader, writer), _c):
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent
        writer.write_eof()
        assert await reader.read() == b"bye"


@pytest.mark.parametrize("reset", [True, False])
async def test_a_cut_falls_on_its_byte(reset: bool) -> None:
    async with asyncio.timeout(_SECONDS), echo_through_a_link() as (_, (reader, writer), cut):
        sprung = cut.down.trap(1234, cut.cutting(reset=reset))
        writer.write(bytes(5000))
        found = await everything(reader)
        assert sprung.is_set()
        await cut.closed.wait()
        # A reset may overtake what was sent before it; nothing comes after.
        assert len(found) <= 1234
        assert reset or len(found) == 1234


async def test_one_bit_flips() -> None:
    sent = bytes(range(256)) * 8
    async with asyncio.timeout(_SECONDS), echo_through_a_link() as (_, (reader, writer), flipped):
        flipped.down.trap(700, flipping(5))
        writer.write(sent)
        found = await reader.readexactly(len(sent))
    assert [at for at in range(len(sent)) if found[at] != sent[at]] == [700]
    assert found[700] == sent[700] ^ 1 << 5


async def test_a_stall_loses_nothing() -> None:
    async with asyncio.timeout(_SECONDS), echo_through_a_link() as (_, (reader, writer), stalled):
        stalled.down.hold()
        writer.write(b"waits")
        answer = asyncio.create_task(reader.readexactly(5))
        # Long enough for the echo, were it let through.
        done, _pending = await asyncio.wait({answer}, timeout=0.2)
        assert not done
        stalled.down.release()
        assert await answer == b"waits"


async def test_slow_bytes_all_come() -> None:
    async with asyncio.timeout(_SECONDS), echo_through_a_link() as (_, (reader, writer), slow):
        slow.down.bytes_per_second = 4000
        writer.write(bytes(1000))
        first = await reader.read(1000)
        assert len(first) < 1000
        assert len(first + await reader.readexactly(1000 - len(first))) == 1000


async def test_half_of_a_connection_closes() -> None:
    async with asyncio.timeout(_SECONDS), echo_through_a_link() as (_, (reader, _w), half):
        half.up.half_close()
        # The echo sees the end of what it is sent, and its answer still comes.
        assert await reader.read() == b"bye"


async def test_connections_are_refused_for_a_while() -> None:
    async with asyncio.timeout(_SECONDS), echo_through_a_link() as (link, (reader, writer), _c):
        refusing, refused = asyncio.create_task(link.refuse(0.3)), 0
        while not refusing.done():
            try:
                _, other = await asyncio.open_connection("127.0.0.1", link.port)
                other.close()
            except ConnectionError:
                refused += 1
            await asyncio.sleep(0.01)
        await refusing
        assert refused
        reader_after, writer_after = await asyncio.open_connection("127.0.0.1", link.port)
        writer_after.write(b"again")
        assert await reader_after.readexactly(5) == b"again"
        writer_after.close()
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"


async def test_a_unix_socket_is_passed_on(tmp_path: Path) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hi")
        writer.close()

    async with asyncio.timeout(_SECONDS):
        server = await asyncio.start_unix_server(greet, tmp_path / "real")
        link = Link("unix", to_path(lambda: tmp_path / "real"))
        await link.listen_unix(tmp_path / "ours")
        reader, writer = await asyncio.open_unix_connection(tmp_path / "ours")
        assert await reader.read() == b"hi"
        writer.close()
        await link.close()
        server.close()


def test_frames_are_cut_wherever_bytes_are() -> None:
    frames = rst_stream(5, ErrorCode.CANCEL) + goaway(7) + rst_stream(9, ErrorCode.NO_ERROR)
    stream = PREFACE + frames
    wanted = [
        Frame(FrameType.RST_STREAM, 0, 5),
        Frame(FrameType.GOAWAY, 0, 0),
        Frame(FrameType.RST_STREAM, 0, 9),
    ]
    for step in (1, 2, 7, 24, 25, 1000):
        cutter, whole, found = FrameCutter(preface=True), b"", []
        for start in range(0, len(stream), step):
            piece, headers = cutter.feed(stream[start : start + step])
            whole += piece
            found += headers
        assert whole == stream
        assert found == wanted
        assert cutter.feed(frames[:8]) == (b"", [])


class Peer:
    """A gRPC service behind a link: answers each message with itself, once it is let."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.answers.set()
        self.asked = asyncio.Event()
        self._server = grpc.aio.server()
        handler: Any = grpc.stream_stream_rpc_method_handler(self._echo)
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("test.Echo", {"Echo": handler})]
        )
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self.link = Link("gRPC", to_port(lambda: self.port), GrpcConnection)

    async def _echo(self, requests: Any, _: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            self.asked.set()
            await self.answers.wait()
            yield request

    def connection(self) -> GrpcConnection:
        (found,) = self.link.connections
        assert isinstance(found, GrpcConnection)
        return found

    @contextlib.asynccontextmanager
    async def channel(self) -> AsyncIterator[Any]:
        await self._server.start()
        port = await self.link.listen_tcp()
        options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
                yield channel.stream_stream("/test.Echo/Echo")
        finally:
            await self.link.close()
            await self._server.stop(None)


async def echoed(method: Any, count: int) -> list[bytes]:
    """Messages through a new stream."""
    call, found = method(), []
    for number in range(count):
        await call.write(b"%d" % number)
        found.append(await call.read())
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    return found


async def echoed_at_last(method: Any, count: int) -> list[bytes]:
    """The same from a client that asks again: it may not yet know what became of a connection."""
    found: list[bytes] = []
    while not found:
        with contextlib.suppress(grpc.aio.AioRpcError):
            found = await echoed(method, count)
    return found


async def said_and_read(call: Any, messages: list[bytes]) -> None:
    with contextlib.suppress(asyncio.InvalidStateError):  # The call has ended: reading says how.
        for message in messages:
            await call.write(message)
    await call.read()


async def test_grpc_passes_unchanged() -> None:
    async with asyncio.timeout(_SECONDS), Peer().channel() as method:
        assert await echoed(method, 50) == [b"%d" % number for number in range(50)]


async def test_after_a_drain_running_streams_end_and_new_ones_go_elsewhere() -> None:
    peer = Peer()
    async with asyncio.timeout(_SECONDS), peer.channel() as method:
        call = method()
        await call.write(b"before")
        assert await call.read() == b"before"
        first = peer.connection()
        await first.drain()
        # A stream that began before the client had read the GOAWAY lies above its last one.
        assert await echoed_at_last(method, 3) == [b"0", b"1", b"2"]
        assert len(peer.link.connections) == 2
        await call.write(b"after")
        assert await call.read() == b"after"
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF


@pytest.mark.parametrize("kind", ["goaway", "rst_stream", "cut"])
async def test_a_young_stream_is_withdrawn(kind: Any) -> None:
    peer = Peer()
    async with asyncio.timeout(_SECONDS), peer.channel() as method:
        await echoed(method, 1)
        sprung = peer.connection().ambush(kind, data_frames=2)
        call = method()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await said_and_read(call, [b"never answered"] * 3)
        assert sprung.is_set()
        # INTERNAL is what grpc.aio says where a message was being written at that moment.
        assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)
        assert await echoed_at_last(method, 2) == [b"0", b"1"]


async def test_goaway_below_a_stream_refuses_it() -> None:
    peer = Peer()
    async with asyncio.timeout(_SECONDS), peer.channel() as method:
        await echoed(method, 1)
        peer.answers.clear()
        peer.asked.clear()
        call = method()
        await call.write(b"held")
        connection = peer.connection()
        await peer.asked.wait()
        await connection.refuse_newest()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        peer.answers.set()


async def test_a_running_stream_is_reset() -> None:
    peer = Peer()
    async with asyncio.timeout(_SECONDS), peer.channel() as method:
        call = method()
        await call.write(b"before")
        assert await call.read() == b"before"
        connection = peer.connection()
        (stream,) = connection.streams
        await connection.reset_stream(stream, ErrorCode.ENHANCE_YOUR_CALM)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        # The connection goes on.
        assert await echoed(method, 2) == [b"0", b"1"]
        assert peer.connection() is connection
