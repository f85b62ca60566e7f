"""What importers of epochs of mixed batches share: detecting, scanning, assembling."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from labelcast.codec import LabelKind
from labelcast.codec.topk import Recovery
from labelcast.errors import InvalidRequestError, LabelFileError
from labelcast.label_set import SampleOrder
from labelcast.progress import Progress, unwatched
from labelcast_producers.formats.batches.comparisons import KindComparison, require_no_copies
from labelcast_producers.formats.batches.detection import (
    first_record,
    inside_of,
    require_epochs,
    require_whole,
)
from labelcast_producers.formats.batches.layout import (
    ARGUMENTS_NAME,
    IDS_NAMES,
    Kind,
    Layout,
    find_layout,
    some,
)
from labelcast_producers.formats.batches.numbering import (
    SampleIDs,
    require_distinct,
)
from labelcast_producers.formats.batches.order_check import DerivedOrder
from labelcast_producers.formats.batches.record import Signature
from labelcast_producers.formats.batches.samples import KnownSamples
from labelcast_producers.formats.batches.scanning import Scan, scan
from labelcast_producers.formats.batches.source import BatchSource, build_index, recorded_policy
from labelcast_producers.formats.shared.meaning import notes_on_kind
from labelcast_producers.formats.source import (
    Finding,
    Importer,
    ImportOptions,
    SourceFacts,
    TopK,
)


@dataclass(frozen=True, slots=True)
class Numbered:
    """Sample IDs and seeds of scanned batches.

    Attributes:
        ids: sample IDs of each batch.
        seeds: seed of each batch.
        notes: notes on what was assumed.
        doubts: notes on the sample IDs, which a teacher's confirmation settles.
        order: the order of the samples, if it was derived.
    """

    ids: list[SampleIDs]
    seeds: list[int]
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    order: DerivedOrder | None = None


class BatchImporter(Importer):
    """The base class of the producers' importers."""

    title: ClassVar[str]
    kind: ClassVar[Kind]
    label_kind: ClassVar[LabelKind] = LabelKind.LOGITS
    order: ClassVar[SampleOrder] = SampleOrder.GIVEN
    needs_ids_file: ClassVar[bool] = False

    @abstractmethod
    def fits(self, layout: Layout, signature: Signature) -> bool:
        """Whether files with this layout and signature come from this producer."""

    @abstractmethod
    def number(
        self, layout: Layout, scanned: Scan, known: KnownSamples, options: ImportOptions
    ) -> Numbered:
        """Find sample IDs and seeds of all batches.

        Raises:
            LabelFileError: the list of samples is missing or contradicts the files.
            InvalidRequestError: options contradict the files.
        """

    def with_images(self, scanned: Scan, ids: Sequence[SampleIDs], known: KnownSamples) -> Scan:
        """The scan with what only the images of its samples tell, whose IDs are known by then.

        Raises:
            LabelFileError: these are not the images that were labelled.
        """
        del ids, known
        return scanned

    def missing(self, layout: Layout, signature: Signature) -> tuple[str, ...]:
        """What the files do not say, for `Finding.missing`."""
        del layout, signature
        return (
            "--view-size: pixels a side of the producer's views, 224 unless images speak otherwise",
        )

    def doubts(self) -> tuple[str, ...]:
        """What may be wrong with this producer's labels, unless a teacher confirms them."""
        return ()

    def detect(self, path: Path) -> Finding | None:
        """See `Importer.detect`; opens one file, or a few if the first ones are damaged."""
        require_whole(path)
        layout = find_layout(path)
        found = None if layout is None else first_record(layout)
        if layout is None or found is None:
            return None
        require_epochs(layout, found[0])
        if layout.kind is not self.kind or not self.fits(layout, Signature.of(found[0])):
            return None
        record, batches = found
        return Finding(
            format=self.name,
            title=self.title,
            inside=inside_of(layout, record, batches),
            missing=self.missing(layout, Signature.of(record)),
            foreign=layout.foreign,
        )

    def open(
        self, path: Path, options: ImportOptions, *, progress: Progress = unwatched
    ) -> BatchSource:
        """See `Importer.open`; reads everything in every file but its labels."""
        layout = find_layout(path)
        if layout is None or layout.kind is not self.kind:
            raise LabelFileError(
                f"{path} holds no {self.kind}, as {self.name} stores them", path=path
            )
        layout.check()
        self.check_options(options)
        known = KnownSamples.of(options)
        if self.needs_ids_file:
            require_ids_file(layout)
        # Before the scan, which takes minutes: check what one file tells.
        first = first_record(layout)
        like = None if first is None else Signature.of(first[0])
        if like is not None:
            self._class_count(layout, like, known)
        scanned = scan(
            layout,
            like=like,
            view_size=options.view_pixels,
            num_classes=None if known.class_names is None else len(known.class_names),
            progress=progress,
        )
        signature = scanned.signature
        num_classes = self._class_count(layout, signature, known)
        recovery = self._recovery(options, signature)
        numbered = self.number(layout, scanned, known, options)
        known.require_ids(max(int(ids.max()) for ids in numbered.ids))
        require_no_copies(scanned.batches, numbered.ids, layout.kind)
        scanned = self.with_images(scanned, numbered.ids, known)
        policy, told_by = recorded_policy(scanned, options, known)
        require_distinct(scanned.batches, numbered.ids, numbered.seeds)
        index, rows = build_index(numbered.ids, numbered.seeds)
        absent = index.num_cells - index.num_rows
        notes, doubts = [*numbered.notes], [*self.doubts(), *numbered.doubts]
        if layout.companions:
            notes.append(f"ignored, as they hold no labels: {some(layout.companions)}")
        if absent:
            notes.append(
                f"{absent} of {index.num_cells} views are absent: dropped batches, or an epoch that"
                " was cut short"
            )
            if self.order is not SampleOrder.GIVEN:
                doubts.append(
                    "if the producer dropped nothing, it had other images and every sample ID is"
                    " wrong; LPLD's files name the samples in sampler_indices_epoch.json: keep it"
                    " beside them"
                )
        if policy.cutout or policy.operations:
            notes.append(
                "RandAugment and cutout are read as the published code of LPQLD and LPLD draws them"
            )
        kind = self.kind_of(options)
        notes += notes_on_kind(options, kind, usual=self.label_kind, format_name=self.name)
        labels = known.hard_labels
        facts = SourceFacts(
            format=self.name,
            num_classes=num_classes,
            label_kind=kind,
            temperature=options.temperature_of(kind),
            top_k=TopK(signature.label_columns, recovery) if signature.top_k else None,
            index=index,
            hard_labels=None if labels is None else labels[index.sample_ids.astype("int64")],
            policy=policy,
            order=self.order,
            view_size_told_by=told_by,
            class_names=known.class_names,
            notes=tuple(notes),
            doubts=tuple(doubts),
        )
        said = options.label_kind is not None
        kinds = KindComparison() if signature.top_k and not said else None
        return BatchSource(scanned, layout.kind, facts, rows, numbered.order, kinds)

    def kind_of(self, options: ImportOptions) -> LabelKind:
        """What the labels are: as the user says, else what this producer stores."""
        return options.label_kind or self.label_kind

    def check_options(self, options: ImportOptions) -> None:
        """Refuse options that contradict the format.

        Raises:
            InvalidRequestError: an option contradicts it; says which.
        """
        if self.kind_of(options) is LabelKind.LOGITS and options.recovery not in {
            None,
            Recovery.RENORMALISE,
        }:
            raise InvalidRequestError(
                f"{self.name} keeps logits or all classes, which --recovery {options.recovery}"
                " means nothing for; leave it out"
            )

    def _recovery(self, options: ImportOptions, signature: Signature) -> Recovery:
        if signature.top_k and self.kind_of(options) is LabelKind.PROBABILITIES:
            if options.recovery is None:
                raise InvalidRequestError(
                    f"probabilities of the top {signature.label_columns} do not say what the other"
                    " classes get: give --recovery spread, renormalise or zero"
                )
            return options.recovery
        return Recovery.RENORMALISE

    def _class_count(self, layout: Layout, signature: Signature, known: KnownSamples) -> int:
        if not self.fits(layout, signature):
            raise LabelFileError(
                f"{layout.root} is not {self.name}; leave --format out", path=layout.root
            )
        if not signature.top_k:
            known.require_classes(signature.label_columns)
            return signature.label_columns
        if known.class_names is None:
            raise InvalidRequestError(
                f"labels of the top {signature.label_columns} do not say how many classes there"
                " are; give --class-names or --images"
            )
        return len(known.class_names)


def require_ids_file(layout: Layout) -> Path:
    """Return the file that lists the samples.

    Raises:
        LabelFileError: it is missing.
    """
    if layout.ids_file is None:
        name = IDS_NAMES[layout.kind]
        hint = ""
        if layout.kind is Kind.FLAT:
            hint = "; if these are the batches of one epoch of SRe2L, give the directory above"
        elif ARGUMENTS_NAME in layout.companions:
            hint = f"; if SRe2L, CDA or CV-DD made these files, move {ARGUMENTS_NAME} away"
        raise LabelFileError(
            f"{layout.root} has no {name}, which names the samples and is written when labelling"
            f" ends; put the one of this run there{hint}",
            path=layout.root,
        )
    return layout.ids_file
