"""Services that faults are injected into."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Variation:
    """How a service runs.

    Attributes:
        title: in tables.
        workers: I/O workers.
        decoders: decoder processes.
        encrypted: whether it speaks mutual TLS, with a certificate that is renewed again and again.
    """

    title: str
    workers: int = 2
    decoders: int = 1
    encrypted: bool = False


VARIATIONS = {
    # Frames of HTTP/2 can be told apart, so that streams are withdrawn one by one.
    "plain": Variation("plain text, one decoder"),
    "encrypted": Variation("mutual TLS, certificate renewed, two decoders", 2, 2, encrypted=True),
}
