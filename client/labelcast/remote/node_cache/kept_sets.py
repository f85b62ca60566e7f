"""The label sets of which a client reads codes through the cache, each with its own choice."""

from collections.abc import Callable, Iterable

from labelcast.identifiers import Digest
from labelcast.label_set import BlobRef
from labelcast.opening.label_set import LabelSet
from labelcast.opening.parts.label_set_parts import LabelSetFacts
from labelcast.remote.calls import check_form
from labelcast.remote.node_cache.blob_cache import BlobCache
from labelcast.remote.node_cache.code_choice import CodeChoice, FetchShards
from labelcast.remote.node_cache.kept_codes import KeptCodes
from labelcast.remote.telemetry.telemetry import Telemetry
from labelcast.representation import Form, Representation


class KeptSets:
    """What one client in one process has of them.

    Args:
        cache: cache of this machine, if the client has one.
        rule: when whole shards are fetched.
        fetch: gives the content of a blob of a label set in pieces, from the service.
        telemetry: the client's.
    """

    def __init__(
        self,
        cache: BlobCache | None,
        rule: FetchShards,
        fetch: Callable[[LabelSetFacts, BlobRef], Iterable[bytes]],
        telemetry: Telemetry,
    ) -> None:
        self._cache = cache
        self._rule = rule
        self._fetch = fetch
        self._telemetry = telemetry
        self._kept: dict[Digest, KeptCodes] = {}

    def codes(self, label_set: LabelSetFacts, representation: Representation) -> KeptCodes | None:
        """Codes of a label set in the cache; None if these labels cannot come from there.

        Raises:
            As `check_form`, if there is a cache.
        """
        cache = self._cache
        if cache is None:
            return None
        check_form(label_set, representation)
        if representation.form is not Form.CODES or not isinstance(label_set, LabelSet):
            return None
        if label_set.digest not in self._kept:
            made = KeptCodes(
                label_set,
                cache,
                self._rule,
                lambda ref: self._fetch(label_set, ref),
                self._telemetry,
            )
            # Two threads may get here; both use the first.
            self._kept.setdefault(label_set.digest, made)
        return self._kept[label_set.digest]

    def choice(self, label_set: LabelSetFacts) -> CodeChoice | None:
        """How codes of a label set come at present; None before any were asked for."""
        kept = self._kept.get(label_set.digest)
        return None if kept is None else kept.choice

    def release(self) -> None:
        """Let go of all files."""
        for kept in self._kept.values():
            kept.release()
