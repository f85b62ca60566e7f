"""How much is measured."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Crowd:
    """How many come.

    Attributes:
        samples: of the label set, each under 50 seeds.
        streams: that read at once.
        streamed: labels that each of them reads.
        silent: readers that never read.
    """

    samples: int
    streams: int
    streamed: int
    silent: int


@dataclass(frozen=True)
class Curves:
    """Where curves have points.

    Attributes:
        samples: of label sets of several sizes, each under 50 seeds.
        message_rows: rows of a message.
        processes: of clients.
        workers: of the service.
        readers: client processes of the curve against workers.
        codes: labels that a reader of codes reads.
        dense: labels that a reader of dense labels reads.
    """

    samples: tuple[int, ...]
    message_rows: tuple[int, ...]
    processes: tuple[int, ...]
    workers: tuple[int, ...]
    readers: int
    codes: int
    dense: int


@dataclass(frozen=True)
class Sizes:
    """All of it.

    Attributes:
        samples: of the label sets of codes, each under 50 seeds.
        raw_rows: of the label set of dense labels.
        streamed: labels of a run that streams codes.
        decoded: labels of a run that decodes.
        calls: unary ones, of a run.
        steps: of fitting a codec.
        repetitions: of every run.
        crowd: of the measures with many readers.
        curves: where they have points.
    """

    samples: int
    raw_rows: int
    streamed: int
    decoded: int
    calls: int
    steps: int
    repetitions: int
    crowd: Crowd
    curves: Curves


FULL = Sizes(
    samples=400_000,
    raw_rows=1_000_000,
    streamed=4_000_000,
    decoded=60_000,
    calls=1000,
    steps=300,
    repetitions=5,
    crowd=Crowd(1_200_000, 50, 200_000, 1000),
    curves=Curves(
        samples=(20_000, 80_000, 400_000, 1_200_000),
        message_rows=(16, 128, 512, 2048, 8192, 32_768),
        processes=(1, 2, 4, 8),
        workers=(1, 2, 4),
        readers=8,
        codes=2_000_000,
        dense=10_000,
    ),
)
QUICK = Sizes(
    samples=4000,
    raw_rows=3000,
    streamed=60_000,
    decoded=3000,
    calls=50,
    steps=5,
    repetitions=1,
    crowd=Crowd(4000, 4, 4000, 20),
    curves=Curves((100, 4000), (128, 2048), (1, 2), (1, 2), 2, 20_000, 500),
)
