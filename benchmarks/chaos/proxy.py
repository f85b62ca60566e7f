"""A byte proxy between two processes, which can be told to fail as networks do.

    link = Link("redis", to_port(6379))
    port = await link.listen_tcp()
    connection = next(iter(link.connections))
    connection.down.trap(100, connection.cutting(reset=True))   # after 100 more bytes

Everything happens on one event loop. `up` is what the client says, `down` what it is told.
"""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

_READ_BYTES = 2**16
_RESET = struct.pack("ii", 1, 0)

Target = Callable[[], Awaitable[socket.socket]]
Spring = Callable[[bytes], bytes]


class CutError(Exception):
    """This connection has been cut by us."""


class Pipe:
    """One direction of a connection.

    Args:
        source: read from.
        sink: written to.
    """

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self._source = source
        self._sink = sink
        self._open = asyncio.Event()
        self._open.set()
        self._holders = 0
        self._writing = asyncio.Lock()
        self._trap: tuple[int, Spring, asyncio.Event] | None = None
        self.bytes_per_second: float | None = None

    def trap(self, after: int, spring: Spring) -> asyncio.Event:
        """Spring once, when so many more bytes have passed.

        Args:
            after: bytes, from 0 on.
            spring: gets the bytes from there on, at least one; what it returns is passed on.

        Returns:
            Is set when it has sprung.
        """
        sprung = asyncio.Event()
        self._trap = (after, spring, sprung)
        return sprung

    def disarm(self) -> None:
        """Take a trap away that has not sprung."""
        self._trap = None

    def hold(self) -> None:
        """Pass nothing on until `release`; what is read meanwhile waits."""
        self._holders += 1
        self._open.clear()

    def release(self) -> None:
        """Undo one `hold`."""
        self._holders -= 1
        if not self._holders:
            self._open.set()

    async def inject(self, content: bytes) -> None:
        """Say something between two messages of the source, even while held."""
        async with self._writing:
            with contextlib.suppress(OSError):  # A sink that is gone needs to be told nothing.
                await self._send(content)

    async def run(self) -> None:
        """Pass on until the source has ended, and say so."""
        loop = asyncio.get_running_loop()
        while content := await loop.sock_recv(self._source, _READ_BYTES):
            await self.forward(content)
        self.half_close()

    def half_close(self) -> None:
        """Tell the sink that no more comes."""
        with contextlib.suppress(OSError):
            self._sink.shutdown(socket.SHUT_WR)

    async def forward(self, content: bytes) -> None:
        """Pass on what may be passed on in one go."""
        await self._open.wait()
        async with self._writing:
            if self._trap is not None:
                after, spring, sprung = self._trap
                if after < len(content):
                    self._trap = None
                    await self._send(content[:after])
                    sprung.set()
                    content = spring(content[after:])
                else:
                    self._trap = (after - len(content), spring, sprung)
            await self._send(content)

    async def _send(self, content: bytes) -> None:
        loop = asyncio.get_running_loop()
        while content and self.bytes_per_second is not None:
            step = max(1, int(self.bytes_per_second / 20))
            await loop.sock_sendall(self._sink, content[:step])
            content = content[step:]
            await asyncio.sleep(0.05)
        if content:
            await loop.sock_sendall(self._sink, content)


class Connection:
    """Both directions between a client and a service.

    Args:
        near: the client.
        far: the service.

    Attributes:
        far_left: the service ended first.
    """

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self._near = near
        self._far = far
        self.up = self._pipe(near, far)
        self.down = self._pipe(far, near)
        self._cut = asyncio.Event()
        self._resets = False
        self.closed = asyncio.Event()
        self.far_left = False
        self._near_left = False

    def _pipe(self, source: socket.socket, sink: socket.socket) -> Pipe:
        return Pipe(source, sink)

    def cut(self, *, reset: bool) -> None:
        """End both directions, by reset or in order."""
        self._resets = reset
        self._cut.set()

    def cutting(self, *, reset: bool) -> Spring:
        """For a trap: cut where it springs."""

        def spring(_: bytes) -> bytes:
            self.cut(reset=reset)
            raise CutError

        return spring

    async def run(self) -> None:
        """Pass bytes on until both ends have ended, one is gone, or somebody cuts."""
        both = asyncio.create_task(self._pump_both())
        cut = asyncio.create_task(self._wait_for_cut())
        try:
            await asyncio.wait({both, cut}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (both, cut):
                task.cancel()
            try:
                await asyncio.gather(both, cut, return_exceptions=True)
            finally:
                self._close()

    def _close(self) -> None:
        for end in (self._near, self._far):
            if self._resets:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            end.close()
        self.closed.set()

    async def _wait_for_cut(self) -> None:
        await self._cut.wait()

    async def _pump_both(self) -> None:
        await asyncio.gather(self._pump(self.up), self._pump(self.down))

    async def _pump(self, pipe: Pipe) -> None:
        try:
            await pipe.run()
            if pipe is self.up:
                self._near_left = True
            elif not self._near_left:
                self.far_left = True
        except OSError:
            self.far_left = pipe is self.down and not self._near_left
            # One end is gone without a word: the other learns it in the same way.
            self.cut(reset=True)
        except CutError:
            pass


class Link:
    """Where clients connect instead of to the service.

    Args:
        name: in reports.
        target: makes a connection to the service.
        connection: kind of connection.

    Attributes:
        connections: that are open.
        port: once it listens on one.
        far_left_at: when the service ended a connection, by the monotonic clock.
    """

    def __init__(
        self,
        name: str,
        target: Target,
        connection: Callable[[socket.socket, socket.socket], Connection] = Connection,
    ) -> None:
        self.name = name
        self.connections: set[Connection] = set()
        self.port = 0
        self.far_left_at: list[float] = []
        self._target = target
        self._new_connection = connection
        self._listener: socket.socket | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._refusing = 0
        self._held: socket.socket | None = None

    async def listen_tcp(self) -> int:
        """Listen on a loopback port, the same again after `refuse`."""
        listener = self._bound()
        self.port = listener.getsockname()[1]
        self._listen(listener)
        return self.port

    def _bound(self) -> socket.socket:
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", self.port))
        return bound

    async def listen_unix(self, path: Path) -> None:
        """Listen on a path that must not exist; leaves an earlier one."""
        self._stop_listening()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        self._listen(listener)

    async def refuse(self, seconds: float) -> None:
        """Take no new connection for a while: TCP ones are refused, others closed at once."""
        self._refusing += 1
        if self.port and self._refusing == 1:
            self._stop_listening()
            # Bound without listening: nobody else may be given the port meanwhile.
            self._held = self._bound()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._refusing -= 1
            if self._held is not None and not self._refusing:
                await self.listen_tcp()
                self._held.close()
                self._held = None

    async def close(self) -> None:
        """Cut everything."""
        self._stop_listening()
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _listen(self, listener: socket.socket) -> None:
        listener.listen(256)
        listener.setblocking(False)
        self._listener = listener
        # Not sock_accept(): cancelled at the wrong moment, it loses what it has accepted.
        asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
        self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        try:
            near, _ = listener.accept()
        except OSError:
            return
        if self._refusing:
            near.close()
            return
        task = asyncio.create_task(self._serve(near))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        # A task that is cancelled before it runs closes nothing.
        task.add_done_callback(lambda _: near.close())

    async def _serve(self, near: socket.socket) -> None:
        try:
            far = await self._target()
        except OSError:
            with contextlib.suppress(OSError):
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            near.close()
            return
        for end in (near, far):
            end.setblocking(False)
            if end.family == socket.AF_INET:
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = self._new_connection(near, far)
        self.connections.add(connection)
        try:
            await connection.run()
        finally:
            self.connections.discard(connection)
            if connection.far_left:
                self.far_left_at.append(time.monotonic())


def flipping(bit: int) -> Spring:
    """For a trap: flip one bit of the next byte."""

    def spring(content: bytes) -> bytes:
        return bytes([content[0] ^ 1 << bit]) + content[1:]

    return spring


def to_port(port: Callable[[], int]) -> Target:
    """To a loopback port, which is asked for anew each time."""

    async def connect() -> socket.socket:
        found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        return await _connected(found, ("127.0.0.1", port()))

    return connect


def to_path(path: Callable[[], Path]) -> Target:
    """To a Unix socket."""

    async def connect() -> socket.socket:
        found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        return await _connected(found, str(path()))

    return connect


async def _connected(found: socket.socket, address: tuple[str, int] | str) -> socket.socket:
    found.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(found, address)
    except BaseException:
        found.close()
        raise
    return found
