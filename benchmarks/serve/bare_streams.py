"""A gRPC service that does nothing but send: what silent readers cost whoever serves them.

    python -m benchmarks.serve.bare_streams MESSAGE_BYTES

Says its address, and answers every call with messages of one size for as long as they are taken,
once it has received two requests, as `StreamLabels` has. Ends with its input.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio


@contextlib.contextmanager
def bare_streams(message_bytes: int) -> Iterator[tuple[str, int]]:
    """Address and process ID of such a service, for as long as the block lasts."""
    command = [sys.executable, "-m", "benchmarks.serve.bare_streams", str(message_bytes)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process.pid
        process.stdin.close()


async def serve(message_bytes: int) -> None:
    """Serve until the input ends."""
    message = bytes(message_bytes)

    async def answer(requests: AsyncIterator[bytes], context: Any) -> None:
        asked = [await anext(requests), await anext(requests)]
        while asked:
            await context.write(message)

    class AnyMethod(grpc.GenericRpcHandler):
        def service(self, _: Any) -> Any:
            return grpc.stream_stream_rpc_method_handler(answer)

    server = grpc.aio.server(handlers=[AnyMethod()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
