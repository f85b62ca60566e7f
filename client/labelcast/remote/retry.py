"""When a call is repeated, and where; gRPC's own replay of a stream loses requests, and is off."""

import logging
import time
from collections.abc import Callable

from labelcast.errors import (
    BlobNotFoundError,
    ChecksumMismatchError,
    ContractMismatchError,
    DeadlineExceededError,
    DigestMismatchError,
    LabelcastError,
    LabelSetNotFoundError,
    LostRequestError,
    ManifestError,
    OverloadedError,
    ProtocolError,
    ServiceUnavailableError,
    StoreUnavailableError,
    WrongSubjectError,
)
from labelcast.network.patience import Patience
from labelcast.network.places import Place
from labelcast.remote.servers import Servers

logger = logging.getLogger("labelcast.remote")

UNPROVEN = (ChecksumMismatchError, DigestMismatchError, ProtocolError, WrongSubjectError)
"""Errors of a reader of replies: such a reply is not used, and is requested again."""

DECISIVE = (ContractMismatchError, ManifestError)
"""Errors of a reader of replies that no repetition changes."""

# Label sets are pushed to each server: the next one may have it.
_LACKING = (BlobNotFoundError, LabelSetNotFoundError)
PASSING = (
    LostRequestError,
    OverloadedError,
    ServiceUnavailableError,
    StoreUnavailableError,
    WrongSubjectError,
)
"""Errors of a service after which a call is repeated."""


class Retries(Patience):
    """Decides whether, when and where a call to a service is repeated.

    Args:
        seconds: see `Patience`.
        servers: servers that may be asked.
        failed: told of every failure.
    """

    def __init__(
        self, seconds: float, *, servers: Servers, failed: Callable[[LabelcastError], None]
    ) -> None:
        super().__init__(seconds, answered=servers.answered)
        self._servers = servers
        self._failed = failed
        self._said: dict[Place, LabelcastError] = {}

    def progress(self) -> None:
        """See `Patience`."""
        super().progress()
        self._said.clear()

    def pause_after(self, error: LabelcastError, place: Place, *, unproven: bool = False) -> float:
        """Seconds to wait before the next try, which asks the next server.

        Args:
            error: error of the last try.
            place: server that was asked.
            unproven: whether the reply failed a check here, instead of the service having refused.

        Raises:
            LabelcastError: `error`, if it is permanent or patience has ended; if several servers
                failed, it says what each did.
        """
        self._failed(error)
        self._said.pop(place, None)
        self._said[place] = error = self.named(error, place)
        lacking = isinstance(error, _LACKING)
        if not (unproven or lacking or self._may_pass(error)):
            raise error from None
        if lacking and self._all_lack():
            raise self._of_all() from None
        if unproven or isinstance(error, LostRequestError | WrongSubjectError):
            logger.warning("asking again: %s", error)
        self._servers.go_on(place)
        if lacking and self._untried:
            return 0.0
        try:
            return self.next_pause(error)
        except LabelcastError:
            # Patience with one server is none with those that nobody has asked yet.
            if self._untried:
                return 0.0
            raise self._of_all() from None

    def named(self, error: LabelcastError, place: Place) -> LabelcastError:
        """The error, saying whose it is where there are several servers."""
        if len(self._servers.places) < 2 or str(place) in error.message:
            return error
        return type(error)(f"{place}: {error.message}", **error.facts)

    @property
    def _untried(self) -> int:
        """How many servers have not been asked since the last progress."""
        return len([place for place in self._servers.places if place not in self._said])

    def _may_pass(self, error: LabelcastError) -> bool:
        several = len(self._servers.places) > 1
        return isinstance(error, PASSING) or (several and isinstance(error, DeadlineExceededError))

    def _all_lack(self) -> bool:
        said = [self._said.get(place) for place in self._servers.places]
        return all(isinstance(each, _LACKING) for each in said)

    def _of_all(self) -> LabelcastError:
        """The error to give up with: of a server that may have the label set, if there is one."""
        *_, last = self._said.values()
        if len(self._said) < 2:
            return last
        others = [each for each in self._said.values() if not isinstance(each, _LACKING)]
        error = others[-1] if others else last
        each = ", ".join(f"{place} ({said.reason})" for place, said in self._said.items())
        return type(error)(
            f"no server answers as asked: {each}; the last of them: {error.message}", **error.facts
        )

    def at_once(self, error: LabelcastError, place: Place) -> bool:
        """Whether a call that failed while nobody waited may be repeated without a pause."""
        passing = isinstance(error, PASSING)
        if passing:
            self._failed(error)
            self._servers.go_on(place)
        return passing


class Attempts(Retries):
    """Attempts at one unary call, all within its deadline.

    Args:
        seconds: see `Patience`.
        servers: see `Retries`.
        failed: see `Retries`.
        deadline_seconds: seconds for all of them together.
    """

    def __init__(
        self,
        seconds: float,
        *,
        servers: Servers,
        failed: Callable[[LabelcastError], None],
        deadline_seconds: float,
    ) -> None:
        super().__init__(seconds, servers=servers, failed=failed)
        self._deadline = time.monotonic() + deadline_seconds

    @property
    def seconds_left(self) -> float:
        """Time limit of the next attempt: one that stays silent leaves half for other servers."""
        left = max(0.001, self._deadline - time.monotonic())
        return left / 2 if self._untried > 1 else left

    def pause_after(self, error: LabelcastError, place: Place, *, unproven: bool = False) -> float:
        """See `Retries.pause_after`; no pause outlasts the deadline."""
        pause = super().pause_after(error, place, unproven=unproven)
        if time.monotonic() + pause >= self._deadline:
            raise self._of_all() from None
        return pause
