"""How often the two ends of a connection ask whether the other is still there.

Both ends must agree: a service that is asked more often than it permits closes the connection
(GOAWAY, ENHANCE_YOUR_CALM).
"""

from collections.abc import Sequence

CLIENT_PING_SECONDS = 20
"""How often a client asks while a call is open: also keeps a stream through a NAT's table alive."""

PERMITTED_PING_SECONDS = 10
"""How often the service lets itself be asked: twice as often as clients do,
since a network may deliver two of them close together."""

CLIENT_OPTIONS: Sequence[tuple[str, int]] = (
    # A peer that vanished silently must not hold a stream forever.
    ("grpc.keepalive_time_ms", CLIENT_PING_SECONDS * 1000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
)
"""Of a client's channel."""

SERVICE_OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.http2.min_ping_interval_without_data_ms", PERMITTED_PING_SECONDS * 1000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Clients that vanish must not keep a connection forever either.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)
"""Of the service's port."""
