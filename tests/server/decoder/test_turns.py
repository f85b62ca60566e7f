"""One large request neither fills the decoder's memory nor holds up the others."""

import asyncio
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from labelcast import Representation
from labelcast.codec import Precision
from labelcast_server.decoder.client import DecoderClient
from tests.server.decoder.decoders import Loaded, RunningDecoder

CLASSES = 21_841
PROCESS = """
import asyncio, pathlib, sys, torch
from labelcast_server.decoder.server import DecoderServer
server = DecoderServer(torch.device("cpu"))
asyncio.run(server.serve(pathlib.Path(sys.argv[1]), asyncio.Event()))
"""


def peak_bytes(process: int) -> int:
    """Most memory that a process has had resident."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise AssertionError("the kernel does not say")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_large_top_k_request_is_held_in_slices() -> None:
    wide = Loaded("vqae", 1, count=64, num_classes=CLASSES)
    # Unsliced: 360 MB of float32 labels, and as much again for each step after them.
    rows = np.tile(wide.rows, (64, 1))
    top_k = Representation.top_k(5, 1.0)
    with tempfile.TemporaryDirectory() as directory:
        socket_path = Path(directory) / "decoder.sock"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROCESS, str(socket_path)
        )
        client = DecoderClient(socket_path)
        try:
            async with asyncio.timeout(120):
                while not socket_path.exists():  # noqa: ASYNC110 - no event tells of it
                    await asyncio.sleep(0.05)
                small = await wide.ask(client, top_k, rows[:64])
                before = peak_bytes(process.pid)
                large = await wide.ask(client, top_k, rows)
            assert peak_bytes(process.pid) - before < 300 * 10**6
            assert len(large) == 64 * len(small)
        finally:
            await client.close()
            process.terminate()
            await process.wait()


async def test_a_fast_label_set_goes_on_beside_a_slow_one() -> None:
    slow = Loaded("vqae", 1, count=384, num_classes=CLASSES)
    fast = Loaded("raw", 2)
    with tempfile.TemporaryDirectory() as directory:
        decoder = RunningDecoder(Path(directory) / "decoder.sock")
        await decoder.start()
        ours, theirs = (DecoderClient(decoder.socket_path) for _ in range(2))
        await fast.ask(ours, Representation.logits(Precision.FP32))
        top_k = Representation.top_k(5, 1.0)
        # At least one turn for each of them, all asked before the first of ours.
        asked = [asyncio.create_task(slow.ask(theirs, top_k)) for _ in range(24)]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        done = sum(task.done() for task in asked)
        for _ in range(8):
            await fast.check(ours, Representation.logits(Precision.FP32), np.arange(64))
        # Each of ours waited for one turn of theirs that ran, and one that came next, at most.
        assert sum(task.done() for task in asked) - done <= 16
        assert not all(task.done() for task in asked)
        await asyncio.gather(*asked)
        await ours.close()
        await theirs.close()
        await decoder.stop()
