"""`DecoderServer` and `DecoderClient` over a real Unix socket."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
import torch
from numpy.typing import NDArray

from labelcast import Representation
from labelcast.codec import TOLERANCES, Codec, LabelKind, Precision, Rows, VqaeCodec, write_artifact
from labelcast.errors import (
    CodecError,
    CodeRangeError,
    DigestMismatchError,
    LabelcastError,
    ServiceUnavailableError,
    UnsupportedFormError,
)
from labelcast.label_set import digest_of
from labelcast_server.decoding import HEADER, DecoderClient, Kind
from labelcast_server.neural.decoder_server import DecoderServer
from tests.bundles import make_codec, make_rows
from tests.codec.samples import random_context

LOGITS = Representation.logits(Precision.FP32)
NAMES = ["raw", "topk", "vqae", "vqae", "vqae-context"]


class Loaded:
    """A codec with its artifact, and rows that it decodes, each followed by its context if any."""

    def __init__(self, name: str, seed: int, count: int = 64) -> None:
        rng = np.random.default_rng(seed)
        self.codec: Codec = make_codec(name, 10 + seed, rng)  # type: ignore[arg-type]
        self.rows = make_rows(self.codec, count, rng)
        context = random_context(10 + seed, count, rng) if self.codec.context_stride else None
        self.labels = self.codec.decode(self.rows, context)
        golden = None if context is None else context[:8]
        self.artifact = write_artifact(self.codec, self.rows[:8], golden)
        if context is not None:
            self.rows = np.concatenate([self.rows, context], axis=1)
        self.digest = digest_of(self.artifact)

    async def ask(
        self, client: DecoderClient, representation: Representation, rows: Rows | None = None
    ) -> bytes:
        wanted = self.rows if rows is None else rows
        return await client.decode(self.digest, self.artifact, representation, wanted)

    async def check(
        self, client: DecoderClient, representation: Representation, at: NDArray[np.int64]
    ) -> None:
        reply = await self.ask(client, representation, self.rows[at])
        expected = self.labels[at]
        if representation.form == "probabilities" and (
            self.codec.header.label_kind is LabelKind.LOGITS
        ):
            powers = np.exp(expected - expected.max(axis=1, keepdims=True))
            expected = powers / powers.sum(axis=1, keepdims=True)
        precision = representation.precision
        assert precision is not None
        got = np.frombuffer(reply, dtype=precision.dtype).reshape(len(at), -1)
        assert TOLERANCES[precision].accepts(got.astype(np.float32), expected)


class RunningDecoder:
    """A decoder in this event loop that can be stopped and started again."""

    def __init__(self, socket_path: Path) -> None:
        self.socket_path = socket_path
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.socket_path.unlink(missing_ok=True)
        ready = asyncio.Event()
        server = DecoderServer(torch.device("cpu"))
        self._serving = asyncio.create_task(server.serve(self.socket_path, ready))
        await asyncio.wait_for(ready.wait(), 30)

    async def stop(self) -> None:
        assert self._serving is not None
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)

    def still_serves(self) -> bool:
        return self._serving is not None and not self._serving.done()


@pytest_asyncio.fixture
async def decoder() -> AsyncIterator[RunningDecoder]:
    with tempfile.TemporaryDirectory() as directory:
        running = RunningDecoder(Path(directory) / "decoder.sock")
        await running.start()
        yield running
        await running.stop()


@pytest_asyncio.fixture
async def client(decoder: RunningDecoder) -> AsyncIterator[DecoderClient]:
    opened = DecoderClient(decoder.socket_path)
    yield opened
    await opened.close()


async def test_requests_at_once_get_their_own_rows(decoder: RunningDecoder) -> None:
    codecs = [Loaded(name, seed) for seed, name in enumerate(NAMES)]
    clients = [DecoderClient(decoder.socket_path) for _ in range(3)]
    rng = np.random.default_rng(0)

    async def one(number: int) -> None:
        loaded = codecs[rng.integers(len(codecs))]
        forms = [
            Representation.probabilities(1.0),
            Representation.probabilities(1.0, Precision.FP32),
        ]
        if loaded.codec.header.label_kind is LabelKind.LOGITS:
            forms += [LOGITS, Representation.logits()]
        at = rng.integers(64, size=rng.integers(1, 50))
        await loaded.check(clients[number % 3], forms[number % len(forms)], at)

    async with asyncio.timeout(60):
        await asyncio.gather(*(one(number) for number in range(600)))
    for client in clients:
        await client.close()


async def test_bad_rows_fail_alone(client: DecoderClient) -> None:
    loaded = Loaded("vqae", 2)
    assert isinstance(loaded.codec, VqaeCodec)
    bad = loaded.rows.copy()
    bad[3] = 255  # Codes of 127 with seven bits each: the codebook has 100.
    bad[:, -1] &= 0b0000_0011
    with pytest.raises(CodecError):
        loaded.codec.check_rows(bad)

    async def one(number: int) -> None:
        if number % 10 == 5:
            await loaded.ask(client, LOGITS, bad)
        else:
            await loaded.check(client, LOGITS, np.arange(64))

    async with asyncio.timeout(60):
        outcomes = await asyncio.gather(
            *(one(number) for number in range(40)), return_exceptions=True
        )
    for number, outcome in enumerate(outcomes):
        if number % 10 == 5:
            assert isinstance(outcome, CodeRangeError)
        else:
            assert outcome is None


async def test_a_bad_context_fails_alone(client: DecoderClient) -> None:
    loaded = Loaded("vqae-context", 2)
    bad = loaded.rows.copy()
    bad[3, loaded.codec.row_stride :][:4] = 255

    async def one(number: int) -> None:
        if number % 10 == 5:
            await loaded.ask(client, LOGITS, bad)
        else:
            await loaded.check(client, LOGITS, np.arange(64))

    async with asyncio.timeout(60):
        outcomes = await asyncio.gather(
            *(one(number) for number in range(40)), return_exceptions=True
        )
    for number, outcome in enumerate(outcomes):
        assert isinstance(outcome, CodeRangeError) if number % 10 == 5 else outcome is None


async def test_forms_are_refused_and_the_rest_goes_on(client: DecoderClient) -> None:
    loaded = Loaded("topk", 1)
    for representation in (LOGITS, Representation.top_k(12, 1.0)):
        with pytest.raises(UnsupportedFormError):
            await loaded.ask(client, representation)
    await loaded.check(client, Representation.probabilities(1.0), np.arange(64))


async def test_more_codecs_than_the_decoder_keeps(decoder: RunningDecoder) -> None:
    codecs = [Loaded("vqae", seed) for seed in range(20)]
    clients = [DecoderClient(decoder.socket_path) for _ in range(2)]
    async with asyncio.timeout(60):
        for _ in range(2):
            await asyncio.gather(
                *(
                    loaded.check(client, LOGITS, np.arange(64))
                    for loaded in codecs
                    for client in clients
                )
            )
    for client in clients:
        await client.close()


async def test_artifacts_are_checked(client: DecoderClient) -> None:
    loaded = Loaded("vqae", 1)
    with pytest.raises(DigestMismatchError):
        await client.decode(digest_of(b"another"), loaded.artifact, LOGITS, loaded.rows)
    garbage = os.urandom(500)
    with pytest.raises(CodecError):
        await client.decode(digest_of(garbage), garbage, LOGITS, loaded.rows)
    await loaded.check(client, LOGITS, np.arange(64))


GARBAGE = {
    "nothing": b"",
    "half a header": HEADER.pack(10, 1, Kind.DECODE)[:5],
    "half a frame": HEADER.pack(1000, 1, Kind.DECODE) + bytes(10),
    "a frame too large": HEADER.pack(2**63, 1, Kind.LOAD) + bytes(100),
    "noise": bytes(range(256)) * 10,
    "no digest": HEADER.pack(3, 1, Kind.DECODE) + b"abc",
    "an empty frame": HEADER.pack(0, 1, Kind.DECODE),
    "an unknown kind": HEADER.pack(100, 1, 99) + bytes(100),
    "a digest that is no text": HEADER.pack(100, 1, Kind.LOAD) + b"\xff" * 100,
    "an unknown form": HEADER.pack(90, 1, Kind.DECODE) + b"x" * 71 + b"\xff" * 19,
}


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_garbage_does_not_end_the_decoder(
    decoder: RunningDecoder, client: DecoderClient, garbage: str
) -> None:
    loaded = Loaded("raw", 1)
    await loaded.check(client, LOGITS, np.arange(64))
    reader, writer = await asyncio.open_unix_connection(str(decoder.socket_path))
    writer.write(GARBAGE[garbage])
    writer.write_eof()
    async with asyncio.timeout(30):
        with contextlib.suppress(ConnectionError):
            await reader.read()
    writer.close()
    await loaded.check(client, LOGITS, np.arange(64))
    assert decoder.still_serves()


async def test_rows_of_the_wrong_width(client: DecoderClient) -> None:
    loaded = Loaded("raw", 1)
    with pytest.raises(LabelcastError):
        await loaded.ask(client, LOGITS, loaded.rows[:3, :7])
    await loaded.check(client, LOGITS, np.arange(64))


async def test_those_who_leave_disturb_nobody(
    decoder: RunningDecoder, client: DecoderClient
) -> None:
    loaded = Loaded("vqae", 3)
    leaving = DecoderClient(decoder.socket_path)
    await loaded.check(leaving, LOGITS, np.arange(64))
    asked = [asyncio.create_task(loaded.ask(leaving, LOGITS)) for _ in range(50)]
    await asyncio.sleep(0)
    for task in asked[::2]:
        task.cancel()
    await leaving.close()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(o, bytes | BaseException) for o in outcomes)
    await loaded.check(client, LOGITS, np.arange(64))


async def test_a_decoder_that_is_gone_and_comes_back(
    decoder: RunningDecoder, client: DecoderClient
) -> None:
    loaded = Loaded("vqae", 3)
    await loaded.check(client, LOGITS, np.arange(64))
    await decoder.stop()
    for _ in range(3):
        with pytest.raises(ServiceUnavailableError, match="started again"):
            await loaded.ask(client, LOGITS)
    await decoder.start()
    # It has forgotten the codec, and is given it again.
    await loaded.check(client, LOGITS, np.arange(64))
