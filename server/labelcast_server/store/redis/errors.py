"""The one place that turns exceptions of redis-py into ours.

Messages name only the address, never a URL, and quote nothing from Redis but the leading error
code: some replies repeat the arguments of the command that failed, including a password.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from redis import exceptions as foreign

from labelcast.errors import StorageError, StoreFullError, StoreUnavailableError

_CREDENTIALS = (
    foreign.AuthenticationError,
    foreign.AuthorizationError,
    foreign.AuthenticationWrongNumberOfArgsError,
)
_ERROR_CODE = re.compile(r"\b[A-Z]{3,20}\b")
_FULL = "its memory is full; raise maxmemory or add memory"
_DISK = "it cannot write to its disk; free disk space and look at its log"
_UNAVAILABLE_CODES = {
    "LOADING": "it is still loading its data; try again in a moment",
    "READONLY": "it is a read-only replica; point the store URL at the primary",
    "NOREPLICAS": "too few of its replicas are connected (min-replicas-to-write); bring them back",
    "MASTERDOWN": "it is a replica that lost its primary; point the store URL at the primary",
    "BUSY": "it is busy with someone's script; end that with SCRIPT KILL",
    "MOVED": "it is a node of a Redis Cluster; use a Redis without cluster mode",
    "ASK": "it is a node of a Redis Cluster; use a Redis without cluster mode",
    "CROSSSLOT": "it is a node of a Redis Cluster; use a Redis without cluster mode",
    "CLUSTERDOWN": "it is a node of a Redis Cluster; use a Redis without cluster mode",
    "NOAUTH": "it needs a password; put one into the store URL",
    "WRONGPASS": "it refused the credentials; check user and password in the store URL",
    "NOPERM": "its user may not do this; allow ~labelcast:* and @read @write @scripting +info +wait"
    " +memory",
}


@contextmanager
def translated(address: str) -> Iterator[None]:
    """Turn exceptions of redis-py raised inside into our errors.

    Args:
        address: address of the Redis, without credentials.

    Raises:
        StoreUnavailableError: Redis cannot be reached, or takes no requests.
        StoreFullError: Redis is out of memory or disk.
        StorageError: Redis refused for another reason.
    """
    try:
        yield
    except (foreign.RedisError, OSError) as error:
        # `from None`: the foreign message may hold what ours leaves out.
        raise _ours(address, error) from None


def _ours(address: str, error: Exception) -> StorageError:
    where = f"Redis at {address}"
    text = str(error)
    if isinstance(error, foreign.OutOfMemoryError) or "OOM command not allowed" in text:
        return StoreFullError(f"{where} takes no more: {_FULL}")
    if "MISCONF" in text:
        return StoreFullError(f"{where} takes no more: {_DISK}")
    if isinstance(error, _CREDENTIALS):
        return StoreUnavailableError(
            f"{where} cannot be used: {_UNAVAILABLE_CODES['WRONGPASS']}", address=address
        )
    code = _code(error, text)
    if code in _UNAVAILABLE_CODES:
        return StoreUnavailableError(
            f"{where} cannot be used: {_UNAVAILABLE_CODES[code]}", address=address
        )
    if isinstance(error, foreign.TimeoutError | TimeoutError):
        return StoreUnavailableError(
            f"{where} did not answer in time: it or the network is slow; try again",
            address=address,
        )
    if isinstance(error, foreign.ResponseError | foreign.DataError):
        return StorageError(
            f"{where} refused a command ({code or type(error).__name__}); its log may say why",
            address=address,
        )
    return StoreUnavailableError(
        f"{where} cannot be reached; check that it runs and that the address is right",
        address=address,
    )


def _code(error: Exception, text: str) -> str:
    """The error code: the class where redis-py strips it from the text, else its first word."""
    by_class = {
        foreign.BusyLoadingError: "LOADING",
        foreign.ReadOnlyError: "READONLY",
        foreign.NoPermissionError: "NOPERM",
        foreign.MasterDownError: "MASTERDOWN",
        foreign.ClusterDownError: "CLUSTERDOWN",
        foreign.MovedError: "MOVED",
        foreign.AskError: "ASK",
        foreign.ClusterCrossSlotError: "CROSSSLOT",
    }
    for kind, code in by_class.items():
        if isinstance(error, kind):
            return code
    if not isinstance(error, foreign.ResponseError):
        return ""
    # Inside a script the code follows Redis's own words.
    for found in _ERROR_CODE.findall(text):
        if found in _UNAVAILABLE_CODES:
            return str(found)
    first = text.split(" ", 1)[0]
    return first if _ERROR_CODE.fullmatch(first) else ""
