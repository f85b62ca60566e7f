"""The configuration of the embedded Redis, every line with its reason."""

import os
import re
from pathlib import Path

_TEMPLATE = """\
# Written by labelcast at every start: changes made here are lost.

# Reachable through the file system only, and by its owner only.
port 0
unixsocket {socket}
unixsocketperm 700
databases 1

dir {directory}
pidfile {pidfile}
logfile {logfile}
daemonize no
supervised no

# A reply must mean "on disk": an upload that was acknowledged is never sent again. Writes come as
# large chunks, so a sync for each costs little.
appendonly yes
appendfsync always
no-appendfsync-on-rewrite no
# After a crash the file may end in half a command. Nobody was told that it was written, so dropping
# it loses nothing, and refusing to start would need a person with redis-check-aof.
aof-load-truncated yes
# A rewritten file loads several times faster with a binary head.
aof-use-rdb-preamble yes
# Redis would start a rewrite however little room is left, and one that fills the disk ends it: the
# service looks first, and asks for it.
auto-aof-rewrite-percentage 0
# Codes have the entropy of noise: compressing them costs time and saves nothing.
rdbcompression no
# The append-only file is the persistence; snapshots beside it would double the disk space.
save ""
stop-writes-on-bgsave-error yes

# Refuse writes when memory is short, never drop labels.
maxmemory {max_memory_bytes}
maxmemory-policy noeviction
"""

_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")
_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
# The rest is for the fork that rewrites the file, and for the service itself.
_DEFAULT_SHARE_OF_MEMORY = 7 / 8


def config_text(*, directory: Path, socket: Path, max_memory_bytes: int) -> str:
    """Write redis.conf.

    Args:
        directory: directory of the append-only file, the log and the pid file.
        socket: path of the Unix socket.
        max_memory_bytes: value of `maxmemory`.
    """
    return _TEMPLATE.format(
        socket=_quoted(socket),
        directory=_quoted(directory),
        pidfile=_quoted(directory / "redis.pid"),
        logfile=_quoted(directory / "redis.log"),
        max_memory_bytes=max_memory_bytes,
    )


def socket_in(config: str) -> Path | None:
    """The socket that a configuration written by `config_text` names."""
    for line in config.splitlines():
        if line.startswith("unixsocket "):
            return _unquoted(line.removeprefix("unixsocket "))
    return None


def default_max_memory_bytes() -> int:
    """Memory for Redis on this machine, or in this container if that has less."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _CGROUP_LIMITS:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            limits.append(int(text))
    return int(min(limits) * _DEFAULT_SHARE_OF_MEMORY)


def _quoted(path: Path) -> str:
    plain = set(range(0x20, 0x7F)) - set(b'"\\')
    return (
        '"'
        + "".join(chr(byte) if byte in plain else f"\\x{byte:02x}" for byte in os.fsencode(path))
        + '"'
    )


def _unquoted(text: str) -> Path:
    escaped = text.strip().strip('"').encode("ascii")
    plain = _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), escaped)
    return Path(os.fsdecode(plain))
