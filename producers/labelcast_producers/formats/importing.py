"""Labels from other projects, on their way to dense labels or a label set."""

import dataclasses
import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from torch import nn

from labelcast.augmentation import RecordedPolicy
from labelcast.errors import InvalidRequestError, LabelFileError
from labelcast.identifiers import Digest, digest_from_hash
from labelcast.label_set import SampleOrder, class_list_digest, digest_of
from labelcast.label_set.fingerprints import SampleFingerprints
from labelcast.label_set_directory import MANIFEST_NAME, LabelSetDirectory
from labelcast.progress import Progress, unwatched
from labelcast.torch.images.samples import SampleTable
from labelcast_producers.dense.labels import DESCRIPTION_NAME, DenseLabels, Description
from labelcast_producers.encoding.label_set_writer import write_label_set
from labelcast_producers.encoding.write_staged import write_staged
from labelcast_producers.formats.distillkit import DistillKitSource
from labelcast_producers.formats.output.dense import write_dense
from labelcast_producers.formats.output.natural_codec import natural_codec
from labelcast_producers.formats.output.top_k import TopKSource, write_top_k
from labelcast_producers.formats.recognition import open_source
from labelcast_producers.formats.shared.foreign_rows import ForeignRows
from labelcast_producers.formats.shared.level_seeds import require_level_seeds
from labelcast_producers.formats.shared.meaning import require_stated_meaning
from labelcast_producers.formats.source import (
    ImportOptions,
    PermutationDraws,
    Source,
    SourceFacts,
)
from labelcast_producers.formats.verification import Verification, verify_order
from labelcast_producers.neural.chosen_encoder import choose_encoder


class SampleOrderWarning(UserWarning):
    """Imported labels do not tell whether their order is right."""


class Import:
    """Files, the user's options for them, what a teacher confirmed, and what people should know.

        labels = Import.open(Path("files"), ImportOptions(images=Path("train")))
        labels.verify(teacher)
        labels.write_dense(Path("dense"))

    Attributes:
        path: path of the files.
        options: options of the user; after `verify`, with the draws that the teacher confirmed.
        source: scanned files.
        teacher_name: name of whatever made the labels, for people.
        verification: result of `verify`; None before it.
    """

    def __init__(
        self,
        path: Path,
        options: ImportOptions,
        source: Source,
        *,
        format_name: str,
        teacher_name: str,
    ) -> None:
        self.path, self.options, self.source = path, options, source
        self.teacher_name = teacher_name
        self.verification: Verification | None = None
        self._format_name = format_name
        self._warnings: list[str] = []

    @classmethod
    def open(
        cls,
        path: Path,
        options: ImportOptions | None = None,
        *,
        format_name: str = "auto",
        teacher_name: str | None = None,
        progress: Progress = unwatched,
    ) -> Self:
        """Recognise files and scan everything but their labels, which may take minutes.

        Args:
            path: file or directory.
            options: what the files do not say; None if they say everything.
            format_name: an importer's name, or "auto".
            teacher_name: name of whatever made the labels, for people; by default the name of
                `path`.
            progress: counts files that are scanned.

        Raises:
            LabelFileError: something is wrong with a file; says what and which.
            InvalidRequestError: an option is missing or contradicts the files.
        """
        said = options or ImportOptions()
        source = open_source(path, said, format_name, progress=progress)
        name = teacher_name or path.name
        return cls(path, said, source, format_name=format_name, teacher_name=name)

    @property
    def facts(self) -> SourceFacts:
        """What is known without reading labels."""
        return self.source.facts

    @property
    def notes(self) -> tuple[str, ...]:
        """One line each on what is missing or was assumed, for people."""
        facts, notes = self.facts, [*self.facts.notes, *self.facts.doubts]
        if facts.order is SampleOrder.UNVERIFIED:
            notes.append(self.options.draws.doubt)
        if self.options.view_size is None and isinstance(facts.policy, RecordedPolicy):
            pixels, told_by = f"{facts.policy.view_height} pixels per side", facts.view_size_told_by
            notes.append(
                f"views are {pixels}, as {told_by} says"
                if told_by
                else f"views are assumed to be {pixels}, as is usual; --view-size changes that"
            )
        return tuple(notes)

    @property
    def warnings(self) -> tuple[str, ...]:
        """One line each on what is probably wrong; complete once the labels have been written."""
        return tuple(self._warnings)

    def verify(
        self,
        teacher: nn.Module,
        *,
        views: int = 64,
        device: str = "auto",
        output: str | None = None,
        from_probabilities: bool = False,
        progress: Progress = unwatched,
    ) -> Verification:
        """Have the teacher confirm the order of the samples by labelling some views again.

        If the options leave the draws open, both are tried and the confirmed one is used.

        Args:
            teacher: see `verify_order`.
            views: number of stored views to label again, approximately.
            device: torch device or "auto".
            output: see `Teacher`.
            from_probabilities: see `Teacher`.
            progress: counts files, where they are scanned once more under the other draws.

        Raises:
            InvalidRequestError: there are no images; otherwise as `verify_order`.
            LabelFileError: the teacher confirms no order, or more than one.
        """
        if self.options.images is None:
            raise InvalidRequestError("--verify-with labels images again and needs --images")
        table = SampleTable(self.options.image_folder())
        candidates = self._candidates(progress)
        found = verify_order(
            candidates,
            teacher,
            table,
            views=views,
            device=device,
            output=output,
            from_probabilities=from_probabilities,
        )
        self.source = candidates[found.draws]
        self.source.facts = dataclasses.replace(self.facts, order=SampleOrder.VERIFIED, doubts=())
        if found.draws is not PermutationDraws.AUTO:
            self.options = dataclasses.replace(self.options, draws=found.draws)
        self.verification = found
        return found

    def _candidates(self, progress: Progress) -> dict[PermutationDraws, Source]:
        if self.facts.order is SampleOrder.GIVEN:
            return {PermutationDraws.AUTO: self.source}
        draws = self.options.draws
        if draws is not PermutationDraws.AUTO:
            return {draws: self.source}
        # By default, two draws are assumed: the source is already scanned that way.
        older = dataclasses.replace(self.options, draws=PermutationDraws.ONE)
        return {
            PermutationDraws.ONE: open_source(
                self.path, older, self._format_name, progress=progress
            ),
            PermutationDraws.TWO: self.source,
        }

    def identity(self) -> Digest:
        """Digest over the files, what was said of them, and whose labels are where.

        The last depends on the images too, which may change behind the same path.
        """
        facts, index = self.facts, self.facts.index
        hasher = hashlib.sha256(repr(dataclasses.astuple(self.options)).encode())
        hasher.update(f"{facts.format} {facts.order} {index.row_order}".encode())
        for table in (index.sample_ids, index.seeds, index.present, facts.hard_labels):
            hasher.update(b"-" if table is None else np.ascontiguousarray(table).tobytes())
        for part in self.source.parts:
            hasher.update(np.ascontiguousarray(part.rows).tobytes())
        path = self.path
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                stat = file.stat()
                name = file.relative_to(path)
                hasher.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
        return digest_from_hash(hasher.digest())

    def describe(self) -> Description:
        """Describe what the labels mean.

        The images identify the data set, or the files if there are no images. Other projects' files
        do not hold the teacher's weights, so its name is hashed.

        Raises:
            LabelFileError: a label belongs to none of the images, or has another number of classes.
        """
        return self._described(self.identity())[0]

    def _described(self, identity: Digest) -> tuple[Description, SampleFingerprints | None]:
        facts, options = self.facts, self.options
        names: Sequence[str] = [str(number) for number in range(facts.num_classes)]
        dataset, prints = identity, None
        if options.images is not None:
            table = SampleTable(options.image_folder())
            known = np.isin(facts.index.sample_ids, table.sample_ids)
            if not known.all():
                raise LabelFileError(
                    f"{options.images} has no sample {facts.index.sample_ids[~known][0]}, of which"
                    " the files hold labels; give the images that were labelled"
                )
            prints = table.fingerprints(facts.index.sample_ids)
            names, dataset = table.dataset.class_names, prints.digest()
        names = facts.class_names or names
        if len(names) != facts.num_classes:
            raise LabelFileError(
                f"the labels have {facts.num_classes} classes, the images or names {len(names)}"
            )
        described = Description(
            teacher=digest_of(self.teacher_name.encode()),
            teacher_name=self.teacher_name,
            dataset=dataset,
            num_classes=facts.num_classes,
            class_list=class_list_digest(list(names)),
            policy=facts.policy,
            label_kind=facts.label_kind,
            temperature=facts.temperature,
            row_order=facts.index.row_order,
            sample_order=facts.order,
            file_reading=None if prints is None else prints.reading,
        )
        return described, prints

    @property
    def keeps_dense(self) -> bool:
        """Whether the labels can be written as dense ones: top-k and staged labels cannot."""
        return self.facts.top_k is None and not self.facts.stages

    def write_dense(self, out: Path, *, progress: Progress = unwatched) -> DenseLabels:
        """Write dense labels in their precision; call it again to resume after an interruption.

        Args:
            out: output directory; incomplete until its description is written, which happens last.
            progress: called as labels are written.

        Raises:
            InvalidRequestError: the labels are top-k or staged, or `out` holds a finished result or
                is among the files.
            LabelFileError, LabelValueError: something is wrong with a file; says what and which.
            StoreFullError: the disk has no room.
        """
        if not self.keeps_dense:
            raise InvalidRequestError(
                f"labels of {self.facts.format} are not made dense; write a label set"
            )
        untold = self._require_sound(out)
        identity = self.identity()
        described, prints = self._described(identity)
        dense = write_dense(
            self.source, described, out, identity=identity, fingerprints=prints, progress=progress
        )
        self._warn(untold)
        return dense

    def write_input_ids(self, path: Path) -> None:
        """Write the tokens of language labels, a row each sequence, under their sample IDs.

        Args:
            path: of a Parquet file with the columns `sample_id` and `input_ids`.

        Raises:
            InvalidRequestError: the files hold no tokens, or `path` lies among them.
            LabelFileError: they are damaged.
        """
        if not isinstance(self.source, DistillKitSource):
            raise InvalidRequestError(
                f"files of {self.facts.format} hold no tokens; leave --input-ids out"
            )
        if self.path.resolve() in path.resolve().parents:
            raise InvalidRequestError(f"{path} is among the imported files: give another path")
        self.source.write_input_ids(path)

    def write_label_set(
        self,
        out: Path,
        *,
        codec: str | None = None,
        temperature: float = 1.0,
        device: str = "auto",
        progress: Progress = unwatched,
    ) -> LabelSetDirectory:
        """Encode the labels on the fly; call it again to resume after an interruption.

        Args:
            out: output directory; incomplete until its manifest is written, which happens last.
            codec: see `choose_encoder`; None takes the one that keeps labels unchanged.
            temperature: softmax temperature of a top-k codec over logits.
            device: torch device or "auto".
            progress: called as labels are written.

        Raises:
            See `write_dense`, `choose_encoder` and `write_label_set`.
        """
        untold = self._require_sound(out)
        facts, identity = self.facts, self.identity()
        description, prints = self._described(identity)
        labels = DenseLabels(
            description=description,
            index=facts.index,
            hard_labels=facts.hard_labels,
            rows=ForeignRows(self.source),
            records=self.source.records(),
            fingerprints=prints,
        )
        keeps_top_k = facts.top_k is not None and not facts.stages
        if codec is None and keeps_top_k and isinstance(self.source, TopKSource):
            made = write_top_k(
                self.source, self.source, labels, out, identity=identity, progress=progress
            )
        else:
            chosen = choose_encoder(
                codec or natural_codec(facts), description, temperature=temperature, device=device
            )
            if facts.stages:
                made = write_staged(
                    labels, chosen, facts.stages, out, identity=identity, progress=progress
                )
            else:
                made = write_label_set(
                    labels,
                    chosen.encoder,
                    out,
                    artifact=chosen.artifact,
                    fit_report=chosen.fit_report,
                    identity=identity,
                    progress=progress,
                )
        self._warn(untold)
        return made

    def _require_sound(self, out: Path) -> str | None:
        """Refuse what must not be written; return what the labels do not tell of their order."""
        _require_new(self.path, out)
        require_stated_meaning(self.source, self.options)
        if self.verification is None and self.facts.order is SampleOrder.GIVEN:
            require_level_seeds(self.source)
        return self.source.require_order()

    def _warn(self, untold: str | None) -> None:
        if self.verification is None and untold is not None:
            self._warnings.append(untold)
            warnings.warn(untold, SampleOrderWarning, stacklevel=3)


def _require_new(path: Path, out: Path) -> None:
    """Refuse to write among the files, or over a result: a failure would leave neither."""
    if out.resolve() == path.resolve() or path.resolve() in out.resolve().parents:
        raise InvalidRequestError(f"{out} is among the files that are imported; give another --out")
    for name in (MANIFEST_NAME, DESCRIPTION_NAME):
        if (out / name).exists():
            raise InvalidRequestError(
                f"{out} holds a finished result ({name}); give another --out, or delete it first"
            )
