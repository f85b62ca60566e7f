"""`DecoderServer` and `DecoderClient` over a real Unix socket."""

import asyncio
import contextlib
import os
import socket
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import pytest_asyncio

from labelcast import Representation
from labelcast.codec import LabelKind, Precision, VqaeCodec
from labelcast.errors import (
    CodecError,
    CodeRangeError,
    DigestMismatchError,
    LabelcastError,
    ServiceUnavailableError,
    UnsupportedFormError,
)
from labelcast.label_set import digest_of
from labelcast_server.decoder.client import DecoderClient
from labelcast_server.decoder.protocol import Kind, pack_header
from tests.factories.label_sets import CodecName
from tests.server.decoder.decoders import Loaded, RunningDecoder

LOGITS = Representation.logits(Precision.FP32)
NAMES: list[CodecName] = ["raw", "topk", "vqae", "vqae", "vqae-context"]


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
        await client.decode(replace(loaded.packed(LOGITS), codec=digest_of(b"another")))
    garbage = os.urandom(500)
    with pytest.raises(CodecError):
        await client.decode(
            replace(loaded.packed(LOGITS), codec=digest_of(garbage), artifact=garbage)
        )
    await loaded.check(client, LOGITS, np.arange(64))


GARBAGE = {
    "nothing": b"",
    "half a header": pack_header(10, 1, Kind.DECODE)[:5],
    "half a frame": pack_header(1000, 1, Kind.DECODE) + bytes(10),
    "a frame too large": pack_header(2**63, 1, Kind.LOAD) + bytes(100),
    "noise": bytes(range(256)) * 10,
    "no digest": pack_header(3, 1, Kind.DECODE) + b"abc",
    "an empty frame": pack_header(0, 1, Kind.DECODE),
    "an unknown kind": pack_header(100, 1, cast("Kind", 99)) + bytes(100),
    "a digest that is no text": pack_header(100, 1, Kind.LOAD) + b"\xff" * 100,
    "a damaged header": b"\xff" + pack_header(90, 1, Kind.DECODE)[1:] + b"x" * 90,
    "an unknown form": pack_header(110, 1, Kind.DECODE) + b"x" * 71 + b"\xff" * 39,
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
        with pytest.raises(ServiceUnavailableError, match=r"restarted, retry in a moment$"):
            await loaded.ask(client, LOGITS)
    await decoder.start()
    # It has forgotten the codec, and is given it again.
    await loaded.check(client, LOGITS, np.arange(64))


async def test_codecs_that_are_dropped_before_they_are_used(
    client: DecoderClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = Loaded("raw", 1)
    with monkeypatch.context() as crowded:
        # As where other label sets take the place of each codec at once.
        crowded.setattr("labelcast_server.decoder.server._LOADED_CODECS", 0)
        with pytest.raises(ServiceUnavailableError, match=r"; retry, or read fewer at a time$"):
            await loaded.ask(client, LOGITS)
    await loaded.check(client, LOGITS, np.arange(64))


async def test_a_ping_is_answered_once_labels_decode(
    decoder: RunningDecoder, client: DecoderClient
) -> None:
    await client.ping()
    await decoder.server.probe()
    await decoder.stop()
    with pytest.raises(ServiceUnavailableError, match="is not running"):
        await client.ping()


async def test_a_decoder_that_hangs_is_told_from_one_that_is_gone(tmp_path: Path) -> None:
    listening = tmp_path / "d.sock"
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(listening))
        hanging.listen()
        client = DecoderClient(listening, answer_seconds=0.1)
        with pytest.raises(
            ServiceUnavailableError, match=r"within 0\.1 s.*replaced within seconds\); retry$"
        ):
            await Loaded("raw", 1).ask(client, LOGITS)
        await client.close()
    successor = RunningDecoder(listening)
    await successor.start()
    client = DecoderClient(listening)
    await Loaded("raw", 1).check(client, LOGITS, np.arange(64))
    await client.close()
    await successor.stop()


async def test_a_probe_does_not_wait_behind_all_others(
    decoder: RunningDecoder, client: DecoderClient
) -> None:
    loaded = Loaded("vqae", 3, count=4096)
    await loaded.ask(client, LOGITS)
    asked = [asyncio.create_task(loaded.ask(client, LOGITS)) for _ in range(200)]
    await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    await decoder.server.probe()
    assert not all(task.done() for task in asked)
    await asyncio.gather(*asked)
