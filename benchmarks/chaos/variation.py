"""Services that faults are injected into."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Variation:
    """How a service runs, and what is asked of it.

    Attributes:
        title: in tables.
        workers: I/O workers.
        decoders: decoder processes.
        encrypted: whether it speaks mutual TLS, with a certificate that is renewed again and again.
        sequences: whether students ask for sequences of tokens, by spans and by plan.
    """

    title: str
    workers: int = 2
    decoders: int = 1
    encrypted: bool = False
    sequences: bool = False


VARIATIONS = {
    # Frames of HTTP/2 can be told apart, so that streams are withdrawn one by one.
    "plain": Variation("plain text, one decoder"),
    "encrypted": Variation("mutual TLS, certificate renewed, two decoders", 2, 2, encrypted=True),
    "sequences": Variation("sequences of tokens in plain text, one decoder", sequences=True),
}
