"""A peer between a worker and the decoder process that tampers with what they say."""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from labelcast_server.decoder.protocol import HEADER_BYTES, Kind, pack_header, unpack_header

Frame = tuple[bytes, bytes]
Tamper = Callable[[list[Frame]], list[bytes]]


def frame(number: int, kind: Kind, payload: bytes) -> bytes:
    """A frame with the header that belongs to it."""
    return pack_header(len(payload), number, kind) + payload


class SeamPeer:
    """Passes frames on; once armed, it collects some of one kind and does as it was told.

    Args:
        listening: where the worker connects.
        decoder: where the decoder process listens.
    """

    def __init__(self, listening: Path, decoder: Path) -> None:
        self._listening = listening
        self._decoder = decoder
        self._server: asyncio.Server | None = None
        self._armed: tuple[Kind, int, Tamper] | None = None
        self._collected: list[Frame] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.tampered = False
        self.passed = Counter[Kind]()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_unix_server(self._accept, str(self._listening))

    async def stop(self) -> None:
        """Cut all connections."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def arm(self, kind: Kind, count: int, tamper: Tamper) -> None:
        """Let `tamper` say what is passed on instead of the next `count` frames of a kind."""
        self._armed = kind, count, tamper
        self._collected, self.tampered = [], False

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        onward, answers = None, None
        try:
            answers, onward = await asyncio.open_unix_connection(str(self._decoder))
            both = [self._pass_on(reader, onward), self._pass_on(answers, writer)]
            tasks = [asyncio.create_task(one) for one in both]
            self._tasks.update(tasks)
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                self._tasks.difference_update(tasks)
        finally:
            writer.close()
            if onward is not None:
                onward.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                header = await reader.readexactly(HEADER_BYTES)
                size, _, kind = unpack_header(header)
                passed = self._passed(kind, (header, await reader.readexactly(size)))
                self.passed[kind] += 1
                for content in passed:
                    writer.write(content)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return

    def _passed(self, kind: Kind, one: Frame) -> list[bytes]:
        if self._armed is None or kind is not self._armed[0]:
            return [one[0] + one[1]]
        _, count, tamper = self._armed
        self._collected.append(one)
        if len(self._collected) < count:
            return []
        self._armed, self.tampered = None, True
        return tamper(self._collected)
