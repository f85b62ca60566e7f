"""A decoder process in this event loop, and codecs for it to decode."""

import asyncio
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from labelcast import Representation
from labelcast.checksums import crc32
from labelcast.codec import TOLERANCES, Codec, LabelKind, Rows, write_artifact
from labelcast.label_set import digest_of
from labelcast_server.decoder.client import DecoderClient, PackedRows
from labelcast_server.decoder.fleet import DecoderFleet
from labelcast_server.decoder.server import DecoderServer
from tests.factories.codecs import random_context
from tests.factories.label_sets import CodecName, make_codec, make_rows

Asked = DecoderClient | DecoderFleet


class Loaded:
    """A codec with its artifact, and rows that it decodes, each followed by its context if any."""

    def __init__(
        self, name: CodecName, seed: int, count: int = 64, num_classes: int | None = None
    ) -> None:
        rng = np.random.default_rng(seed)
        self.codec: Codec = make_codec(name, num_classes or 10 + seed, rng)
        self.rows = make_rows(self.codec, count, rng)
        context = random_context(10 + seed, count, rng) if self.codec.context_stride else None
        self.labels = self.codec.decode(self.rows, context)
        golden = None if context is None else context[:8]
        self.artifact = write_artifact(self.codec, self.rows[:8], golden)
        if context is not None:
            self.rows = np.concatenate([self.rows, context], axis=1)
        self.digest = digest_of(self.artifact)

    def packed(self, representation: Representation, rows: Rows | None = None) -> PackedRows:
        """What a decoder is asked for these rows, or for all."""
        rows = self.rows if rows is None else rows
        stride = representation.row_stride(self.codec.header.num_classes, self.codec.row_stride)
        return PackedRows(
            self.digest, self.artifact, representation, rows.tobytes(), len(rows) * stride
        )

    async def ask(
        self, client: Asked, representation: Representation, rows: Rows | None = None
    ) -> bytes:
        decoded = await client.decode(self.packed(representation, rows))
        labels = bytes(decoded.payload)
        assert decoded.crc32 == crc32(labels)
        decoded.check()
        return labels

    async def check(
        self, client: Asked, representation: Representation, at: NDArray[np.int64]
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
        self.server = DecoderServer(torch.device("cpu"))
        self._serving = asyncio.create_task(self.server.serve(self.socket_path, ready))
        await asyncio.wait_for(ready.wait(), 30)

    async def stop(self) -> None:
        assert self._serving is not None
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)

    def still_serves(self) -> bool:
        return self._serving is not None and not self._serving.done()
