"""How fast bytes cross the loopback from another process, in messages of one size.

python -m benchmarks.serve.raw_tcp MESSAGE_BYTES    sends as many as asked for, and says its port
"""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def sender(message_bytes: int) -> Iterator[Callable[[int], float]]:
    """A process that sends; gives a function from bytes to bytes a second."""
    command = [sys.executable, "-m", "benchmarks.serve.raw_tcp", str(message_bytes)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port)) as connection:
            buffer = bytearray(message_bytes)

            def receive(size: int) -> float:
                messages = -(-size // message_bytes)
                began = time.perf_counter()
                connection.sendall(messages.to_bytes(8, "little"))
                for _ in range(messages):
                    left = memoryview(buffer)
                    while left:
                        left = left[connection.recv_into(left) :]
                return messages * message_bytes / (time.perf_counter() - began)

            yield receive
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Send what is asked for until the other end goes."""
    message = bytes(int(sys.argv[1]))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        connection, _ = listener.accept()
        with connection:
            while asked := connection.recv(8, socket.MSG_WAITALL):
                for _ in range(int.from_bytes(asked, "little")):
                    connection.sendall(message)


if __name__ == "__main__":
    main()
