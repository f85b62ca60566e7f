"""The producers that store epochs of mixed batches: what tells them apart, and what each means."""

from dataclasses import replace

from labelcast.codec import LabelKind
from labelcast.errors import InvalidRequestError, LabelFileError
from labelcast.label_set import SampleOrder
from labelcast_producers.formats.batches.base import BatchImporter, Numbered, require_ids_file
from labelcast_producers.formats.batches.layout import Kind, Layout
from labelcast_producers.formats.batches.numbering import (
    count_samples,
    cut_epochs,
    derived_ids,
    greedy_seeds,
    ids_by_batch,
    ids_by_epoch,
)
from labelcast_producers.formats.batches.orders import read_orders, sampler_orders
from labelcast_producers.formats.batches.record import Signature
from labelcast_producers.formats.batches.samples import KnownSamples
from labelcast_producers.formats.batches.scanning import Scan
from labelcast_producers.formats.source import ImportOptions, PermutationDraws


class SRe2LImporter(BatchImporter):
    """Epochs of batches that name no samples: their order is drawn again."""

    name = "sre2l"
    title = "SRe2L / CDA / CV-DD: teacher logits by epoch and batch"
    kind = Kind.EPOCH_DIRECTORIES
    order = SampleOrder.UNVERIFIED

    def fits(self, layout: Layout, signature: Signature) -> bool:
        """See `BatchImporter.fits`."""
        return layout.ids_file is None and _is_plain(signature) and not signature.cutout

    def missing(self, layout: Layout, signature: Signature) -> tuple[str, ...]:
        """See `BatchImporter.missing`."""
        return (
            "--images, --image-list or --samples: how many samples there are",
            "--draws: of the producer's torch; --verify-with tells it",
            *super().missing(layout, signature),
        )

    def notes(self) -> tuple[str, ...]:
        """See `BatchImporter.notes`."""
        note = (
            "if CV-DD made these labels, its teacher may have used statistics of the batch: then no"
            " label can be made again alone"
        )
        return (note,)

    def number(
        self, layout: Layout, scanned: Scan, known: KnownSamples, options: ImportOptions
    ) -> Numbered:
        """See `BatchImporter.number`."""
        epochs = cut_epochs(scanned.batches)
        count = count_samples(epochs, known)
        notes = []
        if known.count is None and count % epochs.batch_size == 0:
            notes.append(
                f"assumed {count} samples, as many as an epoch has views; if the producer dropped"
                " its last batch or stopped within the epoch, all sample IDs are wrong: give"
                " --images or --samples"
            )
        draws = options.draws
        if draws is PermutationDraws.AUTO:
            draws = PermutationDraws.TWO
            notes.append(
                "assumed a torch that draws two permutations an epoch, which no teacher confirmed;"
                " older ones draw one (--draws one)"
            )
        orders = sampler_orders(count, draws, options.sampler_seed)
        ids = list(derived_ids(epochs, orders, count))
        return Numbered(ids, _epoch_seeds(scanned), tuple(notes))


class LPLDImporter(BatchImporter):
    """SRe2L's files, pruned, with the samples of every epoch in a list."""

    name = "lpld"
    title = "LPLD: pruned teacher logits by epoch and batch, with sample IDs"
    kind = Kind.EPOCH_DIRECTORIES
    needs_ids_file = True

    def fits(self, layout: Layout, signature: Signature) -> bool:
        """See `BatchImporter.fits`."""
        return _is_plain(signature) and (layout.ids_file is not None or signature.cutout)

    def number(
        self, layout: Layout, scanned: Scan, known: KnownSamples, options: ImportOptions
    ) -> Numbered:
        """See `BatchImporter.number`."""
        # Batches go by epoch and number. The producer's loader looks them up by their first sample,
        # which several batches share: it finds another's labels for some of them.
        return _by_epoch(layout, scanned)


class LPQLDImporter(BatchImporter):
    """Numbered batches of top-k logits, or of all, with the samples of each in a list."""

    name = "lpqld"
    title = "LPQLD: pruned teacher logits by batch, mostly of the top k classes, with sample IDs"
    kind = Kind.FLAT
    needs_ids_file = True

    def fits(self, layout: Layout, signature: Signature) -> bool:
        """See `BatchImporter.fits`."""
        return not (signature.sample_ids or signature.patches)

    def missing(self, layout: Layout, signature: Signature) -> tuple[str, ...]:
        """See `BatchImporter.missing`."""
        classes = (
            ("--class-names or --images: top-k labels do not say how many classes there are",)
            if signature.top_k
            else ()
        )
        return (*classes, *super().missing(layout, signature))

    def number(
        self, layout: Layout, scanned: Scan, known: KnownSamples, options: ImportOptions
    ) -> Numbered:
        """See `BatchImporter.number`."""
        ids_file = require_ids_file(layout)
        ids = list(ids_by_batch(scanned.batches, read_orders(ids_file), ids_file))
        note = (
            "the files name no epochs: a batch is under the first seed, from the one before it on,"
            " that has none of its samples yet"
        )
        return Numbered(ids, greedy_seeds(ids), (note,))


class GVBSMImporter(BatchImporter):
    """SRe2L's files, with the sample IDs in each."""

    name = "gvbsm"
    title = "G-VBSM: teacher logits by epoch and batch, with sample IDs"
    kind = Kind.EPOCH_DIRECTORIES

    def fits(self, layout: Layout, signature: Signature) -> bool:
        """See `BatchImporter.fits`."""
        return signature.sample_ids and not signature.patches and not signature.layers

    def number(
        self, layout: Layout, scanned: Scan, known: KnownSamples, options: ImportOptions
    ) -> Numbered:
        """See `BatchImporter.number`."""
        return _own_ids(layout, scanned)


class EDCImporter(BatchImporter):
    """SRe2L's files, with sample IDs and the order of shuffled patches in each."""

    name = "edc"
    title = "EDC: teacher logits of shuffled patches by epoch and batch, with sample IDs"
    kind = Kind.EPOCH_DIRECTORIES

    def fits(self, layout: Layout, signature: Signature) -> bool:
        """See `BatchImporter.fits`."""
        return signature.patches and not signature.layers

    def number(
        self, layout: Layout, scanned: Scan, known: KnownSamples, options: ImportOptions
    ) -> Numbered:
        """See `BatchImporter.number`."""
        ids = _own_ids(layout, scanned)
        if options.apply_patches:
            return ids
        note = (
            "the patch orders in these files are not replayed, since EDC's published code stores"
            " them without applying them; --apply-patches if yours does"
        )
        return replace(ids, notes=(*ids.notes, note))


class HALDImporter(BatchImporter):
    """Files of whole epochs, of probabilities, with the samples of every epoch in a list."""

    name = "hald"
    title = "HALD: teacher probabilities, a file an epoch, with sample IDs"
    kind = Kind.EPOCH_FILES
    needs_ids_file = True
    label_kind = LabelKind.PROBABILITIES

    def fits(self, layout: Layout, signature: Signature) -> bool:
        """See `BatchImporter.fits`."""
        return _is_plain(signature) and not signature.cutout

    def missing(self, layout: Layout, signature: Signature) -> tuple[str, ...]:
        """See `BatchImporter.missing`."""
        return (
            "--temperature: that the probabilities were taken at",
            *super().missing(layout, signature),
        )

    def check_options(self, options: ImportOptions) -> None:
        """See `BatchImporter.check_options`."""
        super().check_options(options)
        if options.temperature is None or not options.temperature > 0:
            raise InvalidRequestError(
                "HALD's files hold softmax(logits / T) and do not say T; give it with --temperature"
            )

    def temperature(self, options: ImportOptions) -> float | None:
        """See `BatchImporter.temperature`."""
        return options.temperature

    def number(
        self, layout: Layout, scanned: Scan, known: KnownSamples, options: ImportOptions
    ) -> Numbered:
        """See `BatchImporter.number`."""
        return _by_epoch(layout, scanned)


BATCH_IMPORTERS: tuple[BatchImporter, ...] = (
    SRe2LImporter(),
    LPLDImporter(),
    LPQLDImporter(),
    GVBSMImporter(),
    EDCImporter(),
    HALDImporter(),
)


def _is_plain(signature: Signature) -> bool:
    """SRe2L's six, but for what stands in the place of the flip."""
    extra = signature.layers or signature.top_k or signature.sample_ids or signature.patches
    return not extra


def _epoch_seeds(scanned: Scan) -> list[int]:
    return [batch.place.epoch or 0 for batch in scanned.batches]


def _by_epoch(layout: Layout, scanned: Scan) -> Numbered:
    ids_file = require_ids_file(layout)
    epochs = cut_epochs(scanned.batches)
    ids = list(ids_by_epoch(epochs, read_orders(ids_file), ids_file))
    return Numbered(ids, _epoch_seeds(scanned))


def _own_ids(layout: Layout, scanned: Scan) -> Numbered:
    cut_epochs(scanned.batches)
    if layout.ids_file is not None:
        raise LabelFileError(
            f"{layout.ids_file} names samples that the batches name themselves; move it away",
            path=layout.ids_file,
        )
    ids = [batch.sample_ids for batch in scanned.batches if batch.sample_ids is not None]
    return Numbered(ids, _epoch_seeds(scanned))
