"""Readers that ask for labels and never read them.

    python -m benchmarks.serve.silent_readers ADDRESS LABEL_SET COUNT STREAMS_ADDRESS

Each has a connection of its own, to the last address. Says `asked` once all have asked, then holds
until its input ends, and fails if the service had ended a stream.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import grpc.aio

from labelcast import LabelClient, Precision, Representation, Views
from labelcast.remote.calls import label_exchange
from labelcast.remote.streams.listed import StreamExchange

_ASKED_ROWS = 8192
_CONNECTING_AT_ONCE = 32
_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))


@contextlib.contextmanager
def silent_readers(
    address: str, label_set: str, count: int, *, of_another: str | None = None
) -> Iterator[None]:
    """Readers in a process of their own, for as long as the block lasts.

    Args:
        address: of the service of the label set.
        label_set: tag.
        count: of readers.
        of_another: address of a service that is asked the same in its place.

    Raises:
        CalledProcessError: a reader was refused, or its stream ended.
    """
    command = [sys.executable, "-m", "benchmarks.serve.silent_readers", address, label_set]
    with subprocess.Popen(
        [*command, str(count), of_another or address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if process.stdout.readline() != "asked\n":
                raise subprocess.CalledProcessError(process.wait(), command)
            yield
        finally:
            process.stdin.close()
            process.wait()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


async def read_nothing(address: str, label_set: str, count: int, streams_address: str) -> None:
    """Ask, and wait for the end of the input."""
    with LabelClient(address) as client:
        opened = client.open(label_set)
        segment = opened.index().segments[0]
        views = Views.of(segment.sample_ids[:_ASKED_ROWS], int(segment.seeds[0]))
    asked = label_exchange(
        opened, [views], Representation.logits(Precision.FP16), rows_in_flight=None
    )
    assert isinstance(asked, StreamExchange)
    first, second = asked.opening(), asked.next_request()
    assert second is not None
    messages = [first.SerializeToString(), second.SerializeToString()]
    turn = asyncio.Semaphore(_CONNECTING_AT_ONCE)

    async def ask() -> tuple[Any, Any]:
        async with turn:
            channel = grpc.aio.insecure_channel(streams_address, options=_OPTIONS)
            call: Any = channel.stream_stream("/labelcast.v2.LabelService/StreamLabels")()
            for message in messages:
                await call.write(message)
            return channel, call

    readers = await asyncio.gather(*(ask() for _ in range(count)))
    print("asked", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    ended = sum(call.done() for _, call in readers)
    for channel, _ in readers:
        await channel.close()
    if ended:
        sys.exit(f"{ended} of {count} streams had ended")


if __name__ == "__main__":
    asyncio.run(read_nothing(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
