"""Which image a label file or key means, and what is known about the images."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import InvalidRequestError, LabelFileError
from labelcast.label_set import RowOrder, SegmentIndex, index_of_cells
from labelcast.torch.images.image_folder import ImageFolder
from labelcast_producers.formats.source import ImportOptions

_SEVERAL = -1


def _first_dot(name: str) -> str:
    directory, slash, file = name.rpartition("/")
    return directory + slash + file.partition(".")[0]


# From the most specific to the least.
_SHORTENED: tuple[Callable[[str], str], ...] = (
    lambda name: name,
    lambda name: name.rpartition(".")[0],
    # FKD cuts names there.
    _first_dot,
    lambda name: name.rpartition("/")[2].rpartition(".")[0],
)


class ImageNames:
    """The images that the user named.

    Args:
        options: options with `images` or `image_list`.

    Attributes:
        names: paths below the root, with forward slashes; an image's sample ID is its position.
        class_names: names of the class directories; None if only a list was given.
        hard_labels: int64, shape (N,); None if only a list was given.
        root: directory of the images; None if only a list was given.

    Raises:
        InvalidRequestError: neither is given, or `ImageFolder` refuses them.
    """

    def __init__(self, options: ImportOptions) -> None:
        self.names: tuple[str, ...]
        self.class_names: tuple[str, ...] | None = None
        self.hard_labels: NDArray[np.int64] | None = None
        self.root = options.images
        if options.images is not None:
            folder = ImageFolder(options.images, image_list=options.image_list)
            self.names, self.class_names = folder.paths, tuple(folder.class_names)
            self.hard_labels = folder.hard_labels
        elif options.image_list is not None:
            self.names = tuple(_lines(options.image_list))
        else:
            raise InvalidRequestError("give --images or --image-list")
        # Made only when needed: each takes as much memory as the names.
        self._tables: dict[int, Mapping[str, int]] = {}

    @classmethod
    def of(cls, options: ImportOptions) -> "ImageNames | None":
        """The images; None if the user named none."""
        if options.images is None and options.image_list is None:
            return None
        return cls(options)

    def sample_ids(self, keys: Sequence[str], path: Path) -> NDArray[np.int64]:
        """Find the position of the image that each key means.

        Args:
            keys: paths with or without their suffix, or bare names.
            path: path of the file with the keys, for messages.

        Returns:
            int64, shape (len(keys),).

        Raises:
            LabelFileError: a key means no image, or several; or two keys mean one.
        """
        found = np.array([self._find(key, path) for key in keys], dtype=np.int64)
        ids, first, counts = np.unique(found, return_index=True, return_counts=True)
        if (counts > 1).any():
            image = int(ids[np.argmax(counts > 1)])
            raise LabelFileError(
                f"{path}: two labels are of the image {self.names[image]}, one of them"
                f" {keys[int(first[np.argmax(counts > 1)])]}; remove one"
            )
        return found

    def _find(self, key: str, path: Path) -> int:
        for level in range(len(_SHORTENED)):
            if level not in self._tables:
                self._tables[level] = _positions([_SHORTENED[level](name) for name in self.names])
            at = self._tables[level].get(key)
            if at == _SEVERAL:
                break
            if at is not None:
                return at
        else:
            raise LabelFileError(
                f"{path}: {key} has labels, but there is no such image; give the images that were"
                " labelled"
            )
        raise LabelFileError(f"{path}: {key} may be one of several images; rename them")


def ragged_index(sample_ids: NDArray[np.uint64], counts: NDArray[np.int64]) -> SegmentIndex:
    """Index of samples with varying numbers of views, sample-major.

    Args:
        sample_ids: uint64, strictly increasing.
        counts: int64, number of views of each, at least one; their seeds are 0 to count − 1.
    """
    most = int(counts.max())
    present = None
    if (counts < most).any():
        starts = np.cumsum(counts) - counts
        shift = np.arange(len(counts)) * most - starts
        present = np.arange(counts.sum()) + np.repeat(shift, counts)
    seeds = np.arange(most, dtype=np.uint32)
    return index_of_cells(sample_ids, seeds, RowOrder.SAMPLE_MAJOR, present)


def check_class_names(options: ImportOptions, num_classes: int, path: Path) -> None:
    """Refuse a number of class names other than the number of classes.

    Raises:
        InvalidRequestError: the numbers differ.
    """
    if options.class_names is not None and len(options.class_names) != num_classes:
        raise InvalidRequestError(
            f"{path} has labels of {num_classes} classes, but {len(options.class_names)} class"
            " names were given; give the names that the teacher knew"
        )


def _positions(names: Sequence[str]) -> Mapping[str, int]:
    table: dict[str, int] = {}
    for at, name in enumerate(names):
        table[name] = _SEVERAL if name in table else at
    return table


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_bytes().decode().replace("\r\n", "\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"cannot read {path}: {error}") from None
    names = [line.strip() for line in lines if line.strip()]
    if not names or len(set(names)) != len(names):
        raise InvalidRequestError(f"{path} lists no images, or one twice")
    return names
