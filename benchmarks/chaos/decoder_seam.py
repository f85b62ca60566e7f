"""Gets between the I/O workers and a decoder, whose Unix socket nobody can be told to share.

The decoder makes its socket anew whenever it starts. As soon as there is one, it is moved aside and
a link listens in its place. A worker that connects in the moment between speaks to the decoder
directly: it is then left out of the faults of that link.
"""

import asyncio
import contextlib
from pathlib import Path

from benchmarks.chaos.proxy import Link, to_path

_LOOK_SECONDS = 0.005


class DecoderSeam:
    """Watches the directories that services make for their sockets.

    Args:
        sockets: holds them, each named labelcast-….
        number: of the decoder, from 0.
    """

    def __init__(self, sockets: Path, number: int) -> None:
        self._sockets = sockets
        self._name = f"decoder-{number}"
        self._aside = sockets / "none"
        self._own_inode = 0
        self.link = Link(self._name, to_path(lambda: self._aside))
        self.taken_over = 0

    async def watch(self) -> None:
        """Take over every socket that appears, until cancelled."""
        while True:
            # Directories of services that have ended may be left over: all are looked at.
            for path in self._sockets.glob(f"labelcast-*/{self._name}.sock"):
                with contextlib.suppress(FileNotFoundError):
                    inode = path.stat().st_ino
                    if inode != self._own_inode:
                        await self.link.listen_unix(_new(path.with_suffix(".ours")))
                        self._take_over(path)
            await asyncio.sleep(_LOOK_SECONDS)

    def _take_over(self, path: Path) -> None:
        ours = path.with_suffix(".ours")
        self._own_inode = ours.stat().st_ino
        self._aside = path.rename(path.with_suffix(".real"))
        ours.rename(path)
        self.taken_over += 1


def _new(path: Path) -> Path:
    path.unlink(missing_ok=True)
    return path
