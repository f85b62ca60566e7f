"""Several processes that read at once.

    python -m benchmarks.serve.readers ADDRESS LABEL_SET codes|dense COUNT SEED

One of them: says `ready`, reads COUNT labels for every line that it is sent, and says `done`.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.serve.reading import CODES, DENSE, labels_per_second, shuffled
from labelcast import LabelClient

_FORMS = {"codes": CODES, "dense": DENSE}


@contextmanager
def readers(
    address: str, label_set: str, form: str, processes: int, count: int
) -> Iterator[Callable[[], float]]:
    """Processes that are ready; gives a function to the labels a second that all read together.

    Args:
        address: host:port of the service.
        label_set: tag.
        form: name of the labels' form.
        processes: number of them.
        count: labels that each reads.
    """
    command = [sys.executable, "-m", "benchmarks.serve.readers", address, label_set, form]
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                subprocess.Popen(
                    [*command, str(count), str(number)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for number in range(processes)
        ]
        _wait_for("ready", started)

        def read() -> float:
            began = time.perf_counter()
            for each in started:
                assert each.stdin is not None
                each.stdin.write("go\n")
                each.stdin.flush()
            _wait_for("done", started)
            return processes * count / (time.perf_counter() - began)

        try:
            yield read
        finally:
            for each in started:
                assert each.stdin is not None
                each.stdin.close()


def _wait_for(word: str, processes: list[subprocess.Popen[str]]) -> None:
    for each in processes:
        assert each.stdout is not None
        if each.stdout.readline() != f"{word}\n":
            raise subprocess.CalledProcessError(each.wait(), each.args)


def main(address: str, label_set: str, form: str, count: str, seed: str) -> None:
    """Read until the input ends."""
    with LabelClient(address) as client:
        opened = client.open(label_set)
        views = shuffled(opened.index().segments[0], int(count), int(seed))
        print("ready", flush=True)
        for _ in sys.stdin:
            labels_per_second(client, opened, views, _FORMS[form])
            print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
