"""Files that the producers of distilled sets leave beside them, which hold no labels to serve."""

import re
from collections.abc import Iterable

# Of other iterations than the best, whitened images, and PDD's trajectories.
_COMPANION = re.compile(
    r"(images|images_zca|labels|syn_lr)_[0-9]{1,9}\.pt|images_zca_best\.pt"
    r"|replay_buffer_[0-9]{1,9}\.pt"
)


def is_companion(name: str) -> bool:
    """Whether a file of this name belongs to a distilled set, and is left out."""
    return _COMPANION.fullmatch(name) is not None


def notes_on_companions(names: Iterable[str]) -> list[str]:
    """A note that names are left out; none where there are none of these.

    Args:
        names: of all files of a distilled set.
    """
    found = sorted(name for name in names if is_companion(name.rpartition("/")[2]))
    if not found:
        return []
    return [f"{len(found)} files of other iterations are left out, such as {found[0]}"]
