"""Several decoder processes, one for each device: which of them decodes what."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from labelcast.errors import NetworkError, ServiceUnavailableError, WrongSubjectError
from labelcast_server.decoder.client import DecodedRows, DecoderClient, PackedRows

__all__ = ["DecodedRows", "DecoderFleet"]

# Long enough for a decoder that died to be started again, short enough to notice that it was.
_AVOIDED_SECONDS = 1.0


class _Member:
    """One decoder process as this worker sees it."""

    def __init__(self, client: DecoderClient) -> None:
        self.client = client
        self.under_way = 0
        self.last_asked = 0
        self.avoided_until = 0.0


class DecoderFleet:
    """Gives every request to the decoder process that has the fewest of them.

    Requests are counted, not rows: a unit is bounded by the work of decoding it, whatever its form.
    Of equally busy processes the one that was left alone for longest is asked, so that several
    workers do not all begin with the same.

    Decoding has no effects, so what one process failed to answer is asked of another, at most once
    of each; a process that failed is asked last for a second.

    Args:
        socket_paths: where each decoder process listens.
    """

    def __init__(self, socket_paths: Sequence[Path]) -> None:
        self._members = [_Member(DecoderClient(path)) for path in socket_paths]
        self._asked = 0

    @property
    def pings(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """What returns if a decoder process decodes labels, by the name of the process."""
        return {f"decoder-{n}": member.client.ping for n, member in enumerate(self._members)}

    async def decode(self, wanted: PackedRows) -> DecodedRows:
        """Decode packed rows; see `DecoderClient.decode`.

        Raises:
            CodecError: rows or artifact are bad.
            WrongSubjectError, ServiceUnavailableError: no process answered.
        """
        untried, failure = list(self._members), NetworkError("there is no decoder process")
        while untried:
            member = self._least_busy(untried)
            untried.remove(member)
            member.under_way += 1
            try:
                return await member.client.decode(wanted)
            except (ServiceUnavailableError, WrongSubjectError) as error:
                member.avoided_until = asyncio.get_running_loop().time() + _AVOIDED_SECONDS
                failure = error
            finally:
                member.under_way -= 1
        raise failure

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(member.client.close() for member in self._members))

    def _least_busy(self, among: Sequence[_Member]) -> _Member:
        now = asyncio.get_running_loop().time()
        chosen = min(
            among, key=lambda one: (one.avoided_until > now, one.under_way, one.last_asked)
        )
        self._asked += 1
        chosen.last_asked = self._asked
        return chosen
