"""Rows that several streams want at once, as of students that train side by side: decoded once."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from labelcast.errors import LabelcastError
from labelcast.identifiers import Digest
from labelcast.representation import Representation
from labelcast_server.decoder.client import PackedRows
from labelcast_server.decoder.connection import DecodedRows
from labelcast_server.decoder.fleet import DecoderFleet

# Labels depend on nothing else. Rows are compared byte by byte.
_Key = tuple[Digest, Representation, bytes]


class _Decoding:
    """A decode under way, and how many wait for it."""

    def __init__(self, task: asyncio.Task[DecodedRows]) -> None:
        self.task = task
        self.waiting = 0


class SharedRows:
    """Joins requests for rows that are being decoded already.

    Rules:
      * nothing is kept: once labels have come, the next request for them decodes again;
      * who leaves takes nothing from the others, and the last who leaves ends the decode.

    Args:
        fleet: decodes; closed with this.
    """

    def __init__(self, fleet: DecoderFleet) -> None:
        self._fleet = fleet
        self._under_way: dict[_Key, _Decoding] = {}

    @property
    def pings(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """See `DecoderFleet.pings`."""
        return self._fleet.pings

    async def decode(self, wanted: PackedRows) -> DecodedRows:
        """Decode packed rows; see `DecoderFleet.decode`. Others may be given the same object."""
        key = wanted.codec, wanted.representation, wanted.rows
        decoding = self._under_way.get(key)
        if decoding is None:
            answer = self._fleet.decode(wanted)
            decoding = self._under_way[key] = _Decoding(asyncio.create_task(answer))
            decoding.task.add_done_callback(lambda _: self._forget(key, decoding))
        decoding.waiting += 1
        try:
            return await asyncio.shield(decoding.task)
        except LabelcastError as error:
            # One for each: several tasks must not share a traceback.
            raise type(error)(error.message, **error.facts) from None
        finally:
            decoding.waiting -= 1
            if not decoding.waiting and not decoding.task.done():
                decoding.task.cancel()
                self._forget(key, decoding)

    async def close(self) -> None:
        """Close all connections."""
        await self._fleet.close()

    def _forget(self, key: _Key, decoding: _Decoding) -> None:
        if self._under_way.get(key) is decoding:
            del self._under_way[key]
        if decoding.task.done() and not decoding.task.cancelled():
            # Nobody may be left to hear of it.
            decoding.task.exception()
