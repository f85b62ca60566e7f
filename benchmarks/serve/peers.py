"""What else would bring labels to a trainer: each in a process of its own, over loopback.

python -m benchmarks.serve.peers DENSE.npy    serves rows over Arrow Flight, and says its port
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import redis
import torch
from numpy.typing import NDArray
from pyarrow import flight

from labelcast import Precision, Representation
from labelcast.codec import Rows
from labelcast.torch.decoding import TorchDecoder
from labelcast_server.decoder.decode_rows import decode_rows

_FLIGHT_ROWS = 2048
_DECODED_ROWS = 2048


FlightClient: TypeAlias = "flight.FlightClient"


class RowServer(flight.FlightServerBase):  # type: ignore[misc]
    """Streams the rows that a call names, in its order."""

    def __init__(self, dense: NDArray[np.float16]) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self._dense = dense
        self._schema = pa.schema([("row", pa.binary(dense.shape[1] * 2))])

    def do_exchange(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """A batch of row numbers → these rows, batch after batch."""
        writer.begin(self._schema)
        for chunk in reader:
            numbers = chunk.data.column(0).to_numpy()
            for start in range(0, len(numbers), _FLIGHT_ROWS):
                rows = self._dense.take(numbers[start : start + _FLIGHT_ROWS], axis=0)
                column = pa.Array.from_buffers(
                    self._schema.field(0).type, len(rows), [None, pa.py_buffer(rows)]
                )
                writer.write_batch(pa.record_batch([column], schema=self._schema))


@contextlib.contextmanager
def flight_of(dense: Path) -> Iterator[FlightClient]:
    """A Flight server over a file of dense labels, and its client."""
    command = [sys.executable, "-m", "benchmarks.serve.peers", str(dense)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with flight.FlightClient(f"grpc://127.0.0.1:{port}") as client:
            yield client
    finally:
        process.terminate()
        process.wait()


def flight_labels_per_second(client: FlightClient, order: NDArray[np.int64]) -> float:
    """Labels a second of rows in this order."""
    began = time.perf_counter()
    writer, reader = client.do_exchange(flight.FlightDescriptor.for_path("rows"))
    with writer:
        writer.begin(pa.schema([("number", pa.int64())]))
        writer.write_batch(pa.record_batch([pa.array(order)], names=["number"]))
        writer.done_writing()
        count = sum(int(chunk.data.num_rows) for chunk in reader)
    assert count == len(order)
    return count / (time.perf_counter() - began)


class KeyPerLabel:
    """A Redis with a key for each label.

    Args:
        url: of a Redis of its own.
        rows: uint8, shape (N, stride).
    """

    def __init__(self, url: str, rows: Rows) -> None:
        self._client = redis.Redis.from_url(url)
        for start in range(0, len(rows), 10_000):
            block = rows[start : start + 10_000]
            self._client.mset(
                {b"label:%d" % (start + at): row.tobytes() for at, row in enumerate(block)}
            )

    def labels_per_second(self, order: NDArray[np.int64], batch: int) -> float:
        """Labels a second by MGET."""
        began = time.perf_counter()
        for start in range(0, len(order), batch):
            keys = [b"label:%d" % at for at in order[start : start + batch]]
            values: Any = self._client.mget(keys)
            np.frombuffer(b"".join(values), dtype=np.uint8)
        return len(order) / (time.perf_counter() - began)


def bare_decode_per_second(decoder: TorchDecoder, rows: Rows) -> float:
    """Labels a second of one thread that does nothing but decode to fp16."""
    form, threads = Representation.logits(Precision.FP16), torch.get_num_threads()
    torch.set_num_threads(1)
    began = time.perf_counter()
    for start in range(0, len(rows), _DECODED_ROWS):
        decode_rows(decoder, form, rows[start : start + _DECODED_ROWS])
    seconds = time.perf_counter() - began
    torch.set_num_threads(threads)
    return len(rows) / seconds


def main() -> None:
    """Serve rows until terminated."""
    server = RowServer(np.load(sys.argv[1]))
    print(server.port, flush=True)
    server.serve()


if __name__ == "__main__":
    main()
