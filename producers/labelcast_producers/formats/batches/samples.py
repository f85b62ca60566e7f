"""What the user says about the samples: their number, classes and class names."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import InvalidRequestError
from labelcast.torch.images.image_folder import ImageFolder
from labelcast_producers.formats.source import ImportOptions


@dataclass(frozen=True, eq=False, slots=True)
class KnownSamples:
    """What the options say about the producer's images.

    Attributes:
        count: number of images; None if no option says it.
        said_by: option that says it, for messages.
        hard_labels: int64, shape (count,); None without images.
        class_names: class names in order; None if no option gives them.
        folder: folder of the images; None without them.
    """

    count: int | None
    said_by: str
    hard_labels: NDArray[np.int64] | None
    class_names: tuple[str, ...] | None
    folder: ImageFolder | None

    @classmethod
    def of(cls, options: ImportOptions) -> "KnownSamples":
        """Read the options.

        Raises:
            InvalidRequestError: images or a list cannot be read, or options contradict each other.
        """
        count, said_by = options.num_samples, "--samples"
        hard_labels, class_names = None, options.class_names
        found: int | None = None
        folder: ImageFolder | None = None
        if options.images is not None:
            folder = ImageFolder(options.images, image_list=options.image_list)
            found, hard_labels = len(folder), folder.hard_labels
            class_names = class_names or folder.class_names
            said_by = f"the images of {options.image_list or options.images}"
        elif options.image_list is not None:
            found, said_by = _count_lines(options.image_list), f"{options.image_list}"
        if None not in (count, found) and count != found:
            raise InvalidRequestError(
                f"--samples is {count}, but {said_by} count {found}; leave --samples out"
            )
        count = count if found is None else found
        if count is not None and count < 1:
            raise InvalidRequestError(f"there is at least one sample, not {count}")
        return cls(count, said_by, hard_labels, class_names, folder)

    def require_classes(self, num_classes: int) -> None:
        """Refuse a number of class names other than the labels' number of classes.

        Raises:
            InvalidRequestError: the numbers differ; names both.
        """
        if self.class_names is not None and len(self.class_names) != num_classes:
            raise InvalidRequestError(
                f"the labels have {num_classes} classes, the images or --class-names"
                f" {len(self.class_names)}; give those of the teacher"
            )

    def require_ids(self, highest: int) -> None:
        """Refuse sample IDs beyond the images.

        Raises:
            InvalidRequestError: there is one; names it and the count.
        """
        if self.count is not None and highest >= self.count:
            raise InvalidRequestError(
                f"the files hold labels of sample {highest}, but {self.said_by} count"
                f" {self.count}, from 0 on; give the images that were labelled"
            )


def _count_lines(path: Path) -> int:
    try:
        lines = path.read_bytes().decode().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"cannot read {path}: {error}") from None
    return sum(1 for line in lines if line.strip())
