"""How soon a dead process is restarted."""

_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0
_FORGOTTEN_AFTER_SECONDS = 60.0


class Restarts:
    """At once the first time, then after 1, 2, 4 … up to 30 seconds; resets after a minute of life.

    It never gives up: the other processes keep working meanwhile, and one that keeps dying may be
    able to live once somebody has freed a disk or a device.
    """

    def __init__(self) -> None:
        self._deaths = 0

    def pause_after(self, life_seconds: float) -> float:
        """Seconds to wait after a death.

        Args:
            life_seconds: how long the process lived since its last start.
        """
        if life_seconds >= _FORGOTTEN_AFTER_SECONDS:
            self._deaths = 0
        self._deaths += 1
        if self._deaths == 1:
            return 0.0
        # No power of 2 that would overflow after a thousand deaths.
        doublings = min(self._deaths - 2, 10)
        return min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0**doublings)


def soon(pause_seconds: float) -> str:
    """For a log: when it is restarted."""
    return "at once" if pause_seconds == 0 else f"in {pause_seconds:g} s"
