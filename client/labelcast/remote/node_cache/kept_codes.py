"""`KeptCodes`: the codes of one label set as one process reads them through the cache."""

import errno
import logging
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import Rows
from labelcast.errors import DigestMismatchError
from labelcast.identifiers import Digest
from labelcast.label_set import BlobRef, Section, table_sections
from labelcast.label_set.section import Shard
from labelcast.opening.delivered import DeliveredLabels
from labelcast.opening.gathering import gather
from labelcast.opening.label_set import LabelSet
from labelcast.opening.shard_file import ShardFile
from labelcast.remote.node_cache.blob_cache import BlobCache
from labelcast.remote.node_cache.code_choice import CodeChoice, FetchShards, choose
from labelcast.remote.telemetry.telemetry import Telemetry
from labelcast.representation import Representation
from labelcast.views import Views, check_batch

# A file that is damaged may be damaged again; one that always is means a disk that fails.
_ATTEMPTS = 3
_UNDECIDED = CodeChoice(False, "none were asked for yet")

logger = logging.getLogger(__name__)


class KeptCodes:
    """Counts the rows that are asked for, chooses, and gathers rows from shards that are kept.

    Shards are fetched when the first of their rows is wanted.

    Args:
        label_set: label set, which reads its index and checksums through the same cache.
        cache: cache of this machine.
        rule: when whole shards are fetched.
        fetch: gives the content of a blob of the label set in pieces, from the service.
        telemetry: told of what was chosen and gathered.

    Attributes:
        choice: how codes come at present.
    """

    def __init__(
        self,
        label_set: LabelSet,
        cache: BlobCache,
        rule: FetchShards,
        fetch: Callable[[BlobRef], Iterable[bytes]],
        telemetry: Telemetry,
    ) -> None:
        self.choice = _UNDECIDED
        self._label_set = label_set
        self._cache = cache
        self._rule = rule
        self._fetch = fetch
        self._telemetry = telemetry
        self._blobs = _needed_blobs(label_set)
        self._all_bytes = sum(ref.size for ref in self._blobs)
        self._missing_bytes = self._all_bytes
        self._asked = cache.asked_bytes(label_set.digest, self._all_bytes // 16)
        self._refused: CodeChoice | None = None
        self._files: dict[Digest, ShardFile] = {}

    def decide(self, wanted_rows: int = 0) -> bool:
        """Choose how codes come from now on.

        Args:
            wanted_rows: rows that are known to be wanted from now on.

        Returns:
            Whether whole shards are fetched.
        """
        if not self.choice.whole_shards:
            self._missing_bytes = self._cache.missing_bytes(self._blobs)
            self._asked.share()
            self._choose(self._refused or self._chosen(wanted_rows))
        return self.choice.whole_shards

    def release(self) -> None:
        """Let go of the files, so that they may be evicted; they are opened again when needed."""
        self._files = {}

    def count_asked(self, rows: int) -> None:
        """Count rows that the service is asked for."""
        self._asked.add(rows * self._label_set.code_stride)

    def would_change(self) -> bool:
        """Whether so many rows have been asked for that whole shards would have been fewer bytes.

        Asked at each batch: it does not look at the cache again.
        """
        return self._refused is None and self._chosen(0).whole_shards

    def read(self, views: Views) -> DeliveredLabels | None:
        """Gather the codes of views here.

        Returns:
            Codes; None if the service must be asked for them, now and from now on.

        Raises:
            InvalidRequestError: these are no views.
            ViewNotFoundError: a view that the label set lacks.
            Otherwise as `LabelClient.blob`, if a shard is not here.
        """
        check_batch(views)
        label_set = self._label_set
        try:
            rows = gather(label_set.manifest, label_set.index(), views, self._shard_rows)
        except (OSError, DigestMismatchError) as error:
            self._refuse(error)
            return None
        rows.flags.writeable = False
        self._telemetry.gathered(len(rows))
        classes = label_set.contract.num_classes
        return DeliveredLabels(views, rows, Representation.codes(), classes)

    def _chosen(self, wanted_rows: int) -> CodeChoice:
        return choose(
            self._rule,
            row_bytes=self._asked.total + wanted_rows * self._label_set.code_stride,
            missing_bytes=self._missing_bytes,
            all_bytes=self._all_bytes,
            max_bytes=self._cache.max_bytes,
        )

    def _choose(self, choice: CodeChoice) -> None:
        before, self.choice = self.choice, choice
        if before is _UNDECIDED or before.whole_shards != choice.whole_shards:
            logger.info("codes of %s come as %s", self._label_set.digest, choice)
            self._telemetry.chose(whole_shards=choice.whole_shards)

    def _refuse(self, error: Exception) -> None:
        """Ask the service from now on: what was refused once would be refused with every batch."""
        logger.warning(
            "codes of %s come row by row from now on, as they cannot be cached: %s",
            self._label_set.digest,
            error,
        )
        self._files = {}
        self._refused = CodeChoice(False, f"they cannot be cached: {error}")
        self._choose(self._refused)

    def _shard_rows(self, section: Section, shard: Shard, rows: NDArray[np.int64]) -> Rows:
        digest = shard.data.digest
        for _ in range(_ATTEMPTS):
            file = self._files.get(digest)
            if file is None:
                file = self._files[digest] = self._open(section, shard)
            if file.damaged_chunk(rows) is None and (packed := file.take(rows)) is not None:
                return packed
            self._cache.drop(shard.data, file.descriptor)
            self._files.pop(digest, None)
        raise OSError(errno.EIO, f"{digest} reads otherwise than it was written")

    def _open(self, section: Section, shard: Shard) -> ShardFile:
        checksums = np.frombuffer(self._label_set.read_blob(shard.index), dtype="<u4")

        def fetch() -> Iterable[bytes]:
            self._asked.pay(shard.data.size)
            return self._fetch(shard.data)

        descriptor = self._cache.open(shard.data, fetch)
        return ShardFile(descriptor, section, shard, checksums)


def _needed_blobs(label_set: LabelSet) -> list[BlobRef]:
    """Everything that rows are gathered with, each blob once."""
    refs: dict[BlobRef, None] = {}
    for segment in label_set.manifest.segments:
        refs.update(dict.fromkeys(segment.codes.blobs()))
        # Tables are read whole, without the checksums of their chunks.
        tables = (shard.data for part in table_sections(segment) for shard in part.shards)
        refs.update(dict.fromkeys(tables))
    return list(refs)
