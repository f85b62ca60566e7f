"""TinyViT (arXiv 2207.10666): records of fixed size in files of epochs and ranks.

`logits_top{K}_epoch{e}/rank{r}-keys.txt` names one image per line, `rank{r}-values.bin` has a
record for each: int32 seed, K × int16 class ID, K × float16 probability, little-endian.

Rules:
  * keys that are all numbers are places in the producer's data set, and used as sample IDs; other
    keys are looked up in the images, or numbered in sorted order;
  * a sampler of several ranks pads an epoch with images of another rank: the record of the lowest
    rank counts;
  * views follow from the seed through TinyViT's own generators, which labelcast does not have: such
    sets are refused, as labels without their views would be taken for labels of the plain images.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import ForeignPolicy, RecordedViews
from labelcast.codec import LabelKind
from labelcast.codec.topk import Recovery
from labelcast.errors import InvalidRequestError, LabelFileError
from labelcast.label_set import RowOrder, SampleOrder, index_of_cells
from labelcast.progress import Progress, unwatched
from labelcast_producers.formats.shared.consecutive_parts import ConsecutiveParts, RowRange
from labelcast_producers.formats.shared.copies import (
    copied,
    differ_within,
    pairs_of_same_draws,
)
from labelcast_producers.formats.shared.counting import counted
from labelcast_producers.formats.shared.image_names import ImageNames
from labelcast_producers.formats.shared.meaning import notes_on_kind
from labelcast_producers.formats.shared.stamps import Stamps, changed
from labelcast_producers.formats.shared.top_k import (
    checked_ids,
    checked_values,
    recovered,
    top_k_recovery,
)
from labelcast_producers.formats.source import (
    Finding,
    Importer,
    ImportOptions,
    Part,
    Source,
    SourceFacts,
    TopK,
)
from labelcast_producers.formats.tinyvit.files import (
    EPOCH,
    Epoch,
    epoch_folders,
    epochs_of,
    key_lines,
    rank_files,
)

FORMAT = "tinyvit"
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_PART_BYTES = 64 * 2**20
_CHUNK_BYTES = 16 * 2**20


@dataclass(frozen=True, eq=False, slots=True)
class _Places:
    """Where an epoch keeps each sample: rank (−1 for nowhere) and record, shape (S,)."""

    epoch: int
    rank: NDArray[np.int32]
    record: NDArray[np.int64]


class TinyVitImporter(Importer):
    """Importer of a directory of epochs."""

    name = FORMAT

    def detect(self, path: Path) -> Finding | None:
        """See `Importer.detect`."""
        if not path.is_dir():
            return None
        folders, foreign = epoch_folders(path)
        if not any(rank_files(folder)[0] for folder in folders):
            return None
        found = EPOCH.fullmatch(folders[0].name)
        ranks = len(rank_files(folders[0])[0])
        files = (file for folder in folders for file in folder.iterdir() if file.is_file())
        stored = sum(file.stat().st_size for file in files)
        return Finding(
            format=FORMAT,
            title="TinyViT: top-k probabilities with augmentation seeds, by epoch and rank",
            inside={
                "epochs": len(folders),
                "ranks": ranks,
                "k": int(found[1]) if found else 0,
                "bytes": stored,
            },
            missing=(
                "--class-names or --images: how many classes there are",
                "views cannot be drawn again: TinyViT's seeds are for its own generators",
            ),
            foreign=foreign,
        )

    def open(
        self, path: Path, options: ImportOptions, *, progress: Progress = unwatched
    ) -> "TinyVitSource":
        """See `Importer.open`; every record is read and checked on the way.

        Raises:
            LabelValueError: the labels are no probabilities.
        """
        _, foreign = epoch_folders(path)
        if foreign:
            raise LabelFileError(f"{path}: {foreign[0]} is no file of TinyViT's; move it away")
        return TinyVitSource(path, options, progress)


class TinyVitSource(Source):
    """Scanned epochs; remembers where the records of one epoch are.

    Args:
        path: directory of the epochs.
        options: options of the user.
    """

    def __init__(self, path: Path, options: ImportOptions, progress: Progress = unwatched) -> None:
        k, self._epochs = epochs_of(path)
        self._record = np.dtype([("seed", "<i4"), ("ids", "<i2", (k,)), ("values", "<f2", (k,))])
        images = ImageNames.of(options)
        self._kind = options.label_kind or LabelKind.PROBABILITIES
        self._recovery = top_k_recovery(options.recovery, self._kind) or Recovery.SPREAD
        self._num_classes = _num_classes(path, options, images, k)
        self._stamps = Stamps()
        for file in (file for epoch in self._epochs for file in (*epoch.keys, *epoch.values)):
            self._stamps.note(file)
        keys = list(dict.fromkeys(key for epoch in self._epochs for key in self._keys(epoch)))
        sample_ids, self._positions, how = _numbered(keys, images, path)
        # Not kept: keys of many millions of images take more memory than their labels.
        self._places: _Places | None = None
        present, repeated = [], 0
        stored: dict[Path, bytes | None] = {}
        for number, epoch in enumerate(counted(self._epochs, progress)):
            stored |= self._check_values(epoch)
            places = self._places_of(number)
            held = np.flatnonzero(places.rank >= 0)
            present.append(held + number * len(sample_ids))
            repeated += sum(1 for _ in self._keys(epoch)) - len(held)
        self._require_no_copies(stored)
        cells = np.concatenate(present).astype(np.int64)
        lacking = len(self._epochs) * len(sample_ids) - len(cells)
        self._index = index_of_cells(
            sample_ids,
            np.array([epoch.number for epoch in self._epochs], dtype=np.uint32),
            RowOrder.SEED_MAJOR,
            cells if lacking else None,
        )
        notes = [
            how,
            "labels are served, views are not: they follow from seeds of TinyViT's own generators",
        ]
        if lacking:
            notes.append(f"{lacking} views are in no file of their epoch")
        if repeated:
            notes.append(f"{repeated} records repeat an image of a lower rank and are left out")
        usual = LabelKind.PROBABILITIES
        if options.recovery is None and self._kind is usual:
            notes.append("the other classes share what is missing to 1, as in TinyViT's training")
        notes += notes_on_kind(options, self._kind, usual=usual, format_name=FORMAT)
        self.facts = SourceFacts(
            format=FORMAT,
            num_classes=self._num_classes,
            label_kind=self._kind,
            temperature=options.temperature_of(self._kind),
            top_k=TopK(k, self._recovery),
            index=self._index,
            hard_labels=_hard_labels(images, sample_ids, self._num_classes),
            policy=ForeignPolicy(),
            order=SampleOrder.GIVEN,
            class_names=options.class_names or (None if images is None else images.class_names),
            notes=tuple(notes),
        )
        stops = np.cumsum([len(held) for held in present]).tolist()
        spans = zip(self._epochs, [0, *stops], stops, strict=False)
        self.parts = ConsecutiveParts(
            [RowRange(epoch.path, first, last) for epoch, first, last in spans],
            max(_PART_BYTES // (4 * self._num_classes), 1),
        )

    def records(self) -> RecordedViews | None:
        """None: TinyViT's records cannot be replayed here."""
        return None

    def read(self, part: Part) -> NDArray[np.float32]:
        """See `Source.read`; prefer `read_top_k`, which does not fill rows of C classes."""
        ids, values = self.read_top_k(part)
        return recovered(ids, values, self._num_classes, self._recovery, self._kind)

    def read_top_k(self, part: Part) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Read classes and probabilities of a part: int64 and float32, shape (n, k)."""
        cells = self._index.cells_at(part.rows)
        number = int(cells[0]) // len(self._index.sample_ids)
        samples = cells - number * len(self._index.sample_ids)
        epoch, places = self._epochs[number], self._places_of(number)
        rank, record = places.rank[samples], places.record[samples]
        rows = np.empty(len(samples), dtype=self._record)
        for own, path in enumerate(epoch.values):
            wanted = np.flatnonzero(rank == own)
            with self._stamps.unchanged(path):
                rows[wanted] = self._gather(path, record[wanted])
        return self._checked(rows, lambda row: f"{epoch.path}, image {int(samples[row])}")

    def _gather(self, path: Path, records: NDArray[np.int64]) -> NDArray[Any]:
        found = np.empty(len(records), dtype=self._record)
        order = np.argsort(records)
        size = self._record.itemsize
        try:
            # Unbuffered: a buffer would read beyond every record.
            with path.open("rb", buffering=0) as file:
                for at, record in zip(order.tolist(), records[order].tolist(), strict=True):
                    file.seek(record * size)
                    if file.readinto(found[at : at + 1].view(np.uint8).data) != size:
                        raise changed(path)
        except OSError as error:
            raise LabelFileError(f"cannot read {path}: {error.strerror or error}") from None
        return found

    def _require_no_copies(self, stored: dict[Path, bytes | None]) -> None:
        keys: dict[Path, Path] = {}
        for epoch in self._epochs:
            keys |= zip(epoch.values, epoch.keys, strict=True)
        files = list(stored)
        for one, other in pairs_of_same_draws(list(stored.values())):
            if [*key_lines(keys[files[one]])] != [*key_lines(keys[files[other]])]:
                raise copied(files[one], files[other])

    def _check_values(self, epoch: Epoch) -> dict[Path, bytes | None]:
        """Check all records; return a digest of those of each file whose seeds were drawn."""
        stored: dict[Path, bytes | None] = {}
        count = max(_CHUNK_BYTES // self._record.itemsize, 1)
        for keys, path in zip(epoch.keys, epoch.values, strict=True):
            named, size = sum(1 for _ in key_lines(keys)), path.stat().st_size
            if size != named * self._record.itemsize:
                raise LabelFileError(
                    f"{path} has {size} bytes, but {named} keys of {self._record.itemsize} bytes"
                    f" each need {named * self._record.itemsize}; fetch both files of that rank"
                    " again, or write the epoch again if it was interrupted"
                )
            hasher, drawn = blake2b(), False
            for first in range(0, named, count):
                start = first * self._record.itemsize
                rows = np.fromfile(path, self._record, count, offset=start)
                self._checked(rows, lambda row, at=first, of=path: f"{of}, record {at + row}")
                hasher.update(rows.tobytes())
                drawn = drawn or differ_within(rows["seed"][:, None])
            stored[path] = hasher.digest() if drawn else None
        return stored

    def _checked(
        self, rows: NDArray[Any], where: Any
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        ids = checked_ids(rows["ids"], self._num_classes, where)
        return ids, checked_values(rows["values"], self._kind, where)

    def _keys(self, epoch: Epoch) -> Iterator[str]:
        for path in epoch.keys:
            yield from key_lines(path)

    def _places_of(self, number: int) -> _Places:
        if self._places is not None and self._places.epoch == number:
            return self._places
        rank = np.full(len(self._positions), -1, dtype=np.int32)
        record = np.zeros(len(self._positions), dtype=np.int64)
        for own, path in enumerate(self._epochs[number].keys):
            self._stamps.require_unchanged(path)
            for at, key in enumerate(key_lines(path)):
                position = self._positions.get(key)
                if position is None:
                    raise changed(path)
                if rank[position] == own:
                    raise LabelFileError(f"{path}, line {at + 1}: {key} is there twice")
                if rank[position] < 0:
                    rank[position], record[position] = own, at
            self._stamps.require_unchanged(path)
        self._places = _Places(number, rank, record)
        return self._places


def _numbered(
    keys: list[str], images: ImageNames | None, path: Path
) -> tuple[NDArray[np.uint64], dict[str, int], str]:
    """Sample IDs, the position of each key among them, and how they were found."""
    if not keys:
        raise LabelFileError(f"{path} holds no keys; write the labels again")
    if all(_NUMBER.fullmatch(key) for key in keys):
        found = np.array([int(key) for key in keys], dtype=np.int64)
        if images is not None and found.max() >= len(images.names):
            raise LabelFileError(
                f"{path}: key {found.max()} is beyond the {len(images.names)} images; give those"
                " that were labelled"
            )
        how = "sample IDs are the keys: places in the producer's data set"
    elif images is not None:
        found = images.sample_ids(keys, path)
        how = "sample IDs are places of the images that the keys name"
    else:
        numbers = {key: number for number, key in enumerate(sorted(keys))}
        found = np.array([numbers[key] for key in keys], dtype=np.int64)
        how = "sample IDs number the keys in sorted order; --images compares them with images"
    order = np.argsort(found)
    positions = {keys[at]: position for position, at in enumerate(order.tolist())}
    return found[order].astype(np.uint64), positions, how


def _num_classes(path: Path, options: ImportOptions, images: ImageNames | None, k: int) -> int:
    names = options.class_names or (None if images is None else images.class_names)
    if names is None:
        raise InvalidRequestError(
            f"{path} does not say how many classes there are; give --class-names or --images"
        )
    if len(names) < k:
        raise InvalidRequestError(f"{path} keeps {k} classes a label, but there are {len(names)}")
    return len(names)


def _hard_labels(
    images: ImageNames | None, sample_ids: NDArray[np.uint64], num_classes: int
) -> NDArray[np.int64] | None:
    if images is None or images.hard_labels is None:
        return None
    if len(images.class_names or ()) != num_classes:
        return None
    return images.hard_labels[sample_ids.astype(np.int64)]
