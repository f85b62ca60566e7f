"""How one of several processes ends."""

import os
import sys
from typing import NoReturn


def leave(status: int) -> NoReturn:
    """End the process with an exit status; nothing may be left to clean up.

    One that torchrun has started ends at once: while the C++ libraries of torch were shut down,
    about one worker in thirty aborted ("terminate called without an active exception"), and
    torchrun then ended the others, which had finished their work.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if "WORLD_SIZE" in os.environ:
        os._exit(status)
    sys.exit(status)
