"""Images in class directories, as torchvision's ImageFolder orders them; needs Pillow."""

import io
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any, Literal, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from labelcast.errors import DataError, InvalidRequestError
from labelcast.label_set.fingerprints import FileReading
from labelcast.torch.images.ids_by_name import ids_by_name

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_MODES = {1: "L", 3: "RGB"}


class ImageFolder(Dataset[tuple[Tensor, int]]):
    """A `FileDataset` over `root/class/…/image.png`.

    Classes are the directories in `root`, sorted by name; images are sorted by directory, then by
    name. A sample ID is an image's position in that order: it stays the same as long as the list of
    files does. To add images later, write `paths` to a file, append to it, and pass it as
    `image_list`; or take IDs by name, which no other file changes.

    To change pixels in a class of your own, override `decode`.

    Images are decoded as torchvision's default loader does: converted to RGB, EXIF orientation not
    applied.

    Args:
        root: directory of the class directories.
        size: pixels per side: the shorter side is resized to it (bilinear), and the centre of the
            longer one is kept; None keeps the images' sizes.
        image_list: text file of paths relative to `root`, one per line, which gives the order; the
            class is the first part of a path.
        channels: 3 for RGB, 1 for grey.
        ids: "position", or "name": a hash of the path below `root`.

    Attributes:
        sample_ids: uint64, shape (N,): 0 to N − 1, or below 2**63 by name.
        class_names: class names in order.
        hard_labels: int64, shape (N,): positions in `class_names`.
        paths: paths of the images, relative to `root`, with forward slashes.
        reading: how files become samples.

    Raises:
        InvalidRequestError: no classes, an empty class, a directory that cannot be listed, a broken
            link, a line of the list that is no image below `root`, an impossible size or number of
            channels, two names with one ID, or Pillow is missing.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        size: int | None = None,
        image_list: str | Path | None = None,
        channels: int = 3,
        ids: Literal["position", "name"] = "position",
    ) -> None:
        if channels not in _MODES:
            raise InvalidRequestError(f"channels must be 1 or 3, got {channels}")
        if size is not None and size < 1:
            raise InvalidRequestError(f"images have at least one pixel a side, not {size}")
        if ids not in ("position", "name"):
            raise InvalidRequestError(f'ids are by "position" or "name", not {ids!r}')
        _pillow()
        self.root = Path(root)
        self._size, self._mode = size, _MODES[channels]
        self.class_names = _classes(self.root)
        if image_list is None:
            self.paths = tuple(_walk(self.root, self.class_names))
        else:
            self.paths = tuple(_listed(self.root, Path(image_list), self.class_names))
        numbers = {name: number for number, name in enumerate(self.class_names)}
        labels = [numbers[path.partition("/")[0]] for path in self.paths]
        self.hard_labels: NDArray[np.int64] = np.array(labels, dtype=np.int64)
        self.sample_ids: NDArray[np.uint64] = (
            ids_by_name(self.paths) if ids == "name" else np.arange(len(labels), dtype=np.uint64)
        )
        resized = "" if size is None else f", {size} × {size}"
        self.reading = FileReading(self._mode + resized, str(ids))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int, /) -> tuple[Tensor, int]:
        """Read and decode one image; see `decode`."""
        return self.decode(self.read_bytes(index), index)

    def read_bytes(self, index: int, /) -> bytes:
        """A file whole.

        Raises:
            DataError: it is missing or cannot be read; names it.
        """
        path = self.root / self.paths[index]
        try:
            return path.read_bytes()
        except OSError as error:
            raise _unreadable(path, error.strerror or str(error)) from None

    def decode(self, content: bytes, index: int, /) -> tuple[Tensor, int]:
        """Decode the bytes of an image.

        Returns:
            float32 in [0, 1], shape (channels, height, width), and the hard label.

        Raises:
            DataError: damaged, or no image; names the file.
        """
        pixels = self._pixels(content, self.root / self.paths[index])
        planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        image = torch.from_numpy(planes).float().div_(255).contiguous()
        return image, int(self.hard_labels[index])

    def _pixels(self, content: bytes, path: Path) -> NDArray[np.uint8]:
        pillow = _pillow()
        try:
            with pillow.open(io.BytesIO(content)) as file:
                image = file.convert(self._mode)
        except pillow.UnidentifiedImageError:
            raise _unreadable(path, "no image of a known format") from None
        # What Pillow raises on a damaged file depends on its format.
        except (OSError, SyntaxError, ValueError, EOFError, pillow.DecompressionBombError) as error:
            raise _unreadable(path, str(error)) from None
        # A copy: torch takes no memory that is read-only.
        return np.array(image if self._size is None else _centred(image, self._size))


def _unreadable(path: Path, why: str) -> DataError:
    return DataError(f"{path} cannot be read as an image: {why}; replace or remove it", path=path)


def _centred(image: Any, size: int) -> Any:
    width, height = image.size
    scale = size / min(width, height)
    wide, high = max(size, round(width * scale)), max(size, round(height * scale))
    left, top = (wide - size) // 2, (high - size) // 2
    resized = image.resize((wide, high), _pillow().Resampling.BILINEAR)
    return resized.crop((left, top, left + size, top + size))


def _classes(root: Path) -> tuple[str, ...]:
    try:
        entries = sorted(os.scandir(root), key=lambda entry: entry.name)
        names = [entry.name for entry in entries if entry.is_dir()]
    except OSError as error:
        raise InvalidRequestError(
            f"cannot list {root}: {error.strerror}; name a directory of class directories that you"
            " may read"
        ) from None
    for entry in entries:
        _refuse_broken_link(Path(entry.path))
    if not names:
        raise InvalidRequestError(f"{root} holds no class directories: images go to root/class/")
    return tuple(names)


def _walk(root: Path, class_names: tuple[str, ...]) -> Iterator[str]:
    for name in class_names:
        found = 0
        # What cannot be listed would be left out, and every later ID be another image's.
        listed = os.walk(root / name, followlinks=True, onerror=_refuse)
        for directory, _, files in sorted(listed):
            for file in sorted(files):
                if file.lower().endswith(EXTENSIONS):
                    found += 1
                    yield (Path(directory) / file).relative_to(root).as_posix()
                else:
                    _refuse_broken_link(Path(directory) / file)
        if not found:
            raise InvalidRequestError(
                f"the class directory {root / name} holds no images ({', '.join(EXTENSIONS)});"
                " remove it, or list the images in a file"
            )


def _refuse(error: OSError) -> NoReturn:
    raise InvalidRequestError(
        f"cannot list {error.filename}: {error.strerror}; make it readable, or list the images in a"
        " file"
    ) from None


def _refuse_broken_link(path: Path) -> None:
    # It may stand for a directory of images, as where a disk is not mounted.
    if path.is_symlink() and not path.exists():
        raise InvalidRequestError(f"{path} is a link to what is not there; mend or remove it")


def _listed(root: Path, image_list: Path, class_names: tuple[str, ...]) -> Iterator[str]:
    try:
        # Names may hold what splitlines() takes for an end of line.
        lines = image_list.read_bytes().decode().replace("\r\n", "\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"cannot read {image_list}: {error}") from None
    known, seen = set(class_names), set[str]()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        parts = PurePosixPath(line).parts
        path, where = "/".join(parts), f"{image_list}, line {number}: {line!r}"
        if PurePosixPath(line).is_absolute() or ".." in parts or len(parts) < 2:
            raise InvalidRequestError(f"{where} is no path class/image below {root}")
        if parts[0] not in known or not (root / path).is_file():
            raise InvalidRequestError(f"{where} is not there below {root}")
        if path in seen:
            raise InvalidRequestError(f"{where} is listed twice; a sample has one ID")
        seen.add(path)
        yield path
    if not seen:
        raise InvalidRequestError(f"{image_list} lists no images")


def _pillow() -> ModuleType:
    try:
        from PIL import Image
    except ImportError:
        raise InvalidRequestError(
            "reading images needs Pillow; pip install 'labelcast[torch]'"
        ) from None
    return Image
