"""Files that the producers of distilled sets leave beside them, which hold no labels to serve."""

import re
from collections.abc import Iterable

LABELS, IMAGES, RATE = "labels_best.pt", "images_best.pt", "syn_lr_best.pt"

_ITERATION = re.compile(r"(images|images_zca|labels|syn_lr)_[0-9]{1,9}\.pt|images_zca_best\.pt")
_REPLAY = re.compile(r"replay_buffer_[0-9]{1,9}\.pt")
_KINDS = (
    (_ITERATION, "of other iterations, or whitened,"),
    (_REPLAY, "of the teachers' trajectories"),
)


def is_companion(name: str) -> bool:
    """Whether a file of this name belongs to a distilled set, and is left out."""
    return any(kind.fullmatch(name) for kind, _ in _KINDS)


def notes_on_companions(names: Iterable[str]) -> list[str]:
    """A note for each kind of files that are left out.

    Args:
        names: of all files of a distilled set.
    """
    every, notes = sorted(names), []
    for kind, what in _KINDS:
        found = [name for name in every if kind.fullmatch(name.rpartition("/")[2])]
        if found:
            files = "file" if len(found) == 1 else "files"
            left = "is" if len(found) == 1 else "are"
            notes.append(f"{len(found)} {files} {what} {left} left out, such as {found[0]}")
    return notes


def lacks_labels(names: Iterable[str]) -> str | None:
    """What to say of a directory that has all of a distilled set but its labels.

    Args:
        names: of the files in it.

    Returns:
        One line without the directory's name; None where nothing speaks of a distilled set.
    """
    there = set(names)
    if LABELS in there:
        return None
    shown = next((name for name in (IMAGES, RATE) if name in there), None)
    if shown is not None:
        return f"has {shown} but no {LABELS}; fetch it"
    iterations = [name for name in there if name.startswith("labels_") and is_companion(name)]
    if not iterations:
        return None
    last = max(iterations, key=lambda name: int(re.sub(r"\D", "", name)))
    return (
        f"has labels of some iterations, but no {LABELS}; fetch it, or copy {last} to {LABELS} and"
        f" the images of that iteration to {IMAGES}"
    )
