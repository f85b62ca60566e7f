"""The bit budget of a distilled data set: samples, labels and everything around the labels.

    bits(labels) = N·E·(C·b_value + b_aug) + batches·b_container + b_codec

N samples, E stored views each (VQAE paper, arXiv 2603.03808; `C·b_value` becomes the bits of
whichever form the labels have). All arithmetic is on integers, so the parts add up exactly.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor

from labelcast.errors import InvalidRequestError
from labelcast_producers.budget.forms import LabelForm

GB, GIB = 10**9, 2**30
SCALES = (1_000_000, 10_000_000, 100_000_000)
_MOST = 2**48


def _at_least(what: str, value: int | Fraction, low: int) -> None:
    if not low <= value <= _MOST:
        raise InvalidRequestError(f"{what} must be {low} to {_MOST}, not {float(value):g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """The distilled samples.

    Attributes:
        classes: number of classes of the samples and labels, C.
        images_per_class: IPC; N = classes × images_per_class.
        bits_a_sample: bits of a stored sample: its JPEG file, or pixels × channels × bits.
    """

    classes: int
    images_per_class: int
    bits_a_sample: int

    def __post_init__(self) -> None:
        _at_least("classes", self.classes, 1)
        _at_least("images per class", self.images_per_class, 1)
        _at_least("bits a sample", self.bits_a_sample, 0)

    @property
    def count(self) -> int:
        """N."""
        return self.classes * self.images_per_class


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What is stored around the labels: files, indexes, tables.

    Attributes:
        batch: labels in a file or chunk; an epoch starts a new one.
        bytes_a_batch: headers, names and checksums of a file, or the index entry of a chunk.
        drop_last: whether the incomplete last batch of an epoch is left out.
        order_bytes_a_label: bytes per label of a list that says which sample each label belongs to.
        bytes_a_sample: bytes per sample of tables with a row for each sample.
        fixed_bytes: bytes of everything that is stored once.
        block_bytes: allocation unit of the file system, a power of two. 1 counts the files' own
            bytes; 4096 counts what `du` counts on most systems: whole blocks, and directories.
        epoch_directories: a directory for each epoch rather than one; counted as one block each,
            and not at all where `block_bytes` is 1.
    """

    batch: int = 1024
    bytes_a_batch: int = 0
    drop_last: bool = False
    order_bytes_a_label: Fraction = Fraction(0)
    bytes_a_sample: int = 0
    fixed_bytes: int = 0
    block_bytes: int = 1
    epoch_directories: bool = False

    def __post_init__(self) -> None:
        _at_least("labels a batch", self.batch, 1)
        _at_least("container bytes a batch", self.bytes_a_batch, 0)
        _at_least("order bytes a label", self.order_bytes_a_label, 0)
        _at_least("container bytes a sample", self.bytes_a_sample, 0)
        _at_least("fixed container bytes", self.fixed_bytes, 0)
        _at_least("block bytes", self.block_bytes, 1)
        if self.block_bytes & (self.block_bytes - 1):
            raise InvalidRequestError(f"block bytes must be a power of 2, not {self.block_bytes}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Everything that determines a budget.

    Attributes:
        name: name for people.
        samples: distilled samples.
        views: labelled augmented views per sample.
        pruning: one view in `pruning` is stored; E = views / pruning.
        form: form of a label.
        augmentation_bits: bits per view, b_aug: SRe2L 200 on disk (75 would do), a seed 0 to 32.
        container: what is stored around the labels.
        codec_bytes: size of codebooks and decoder; 0 where labels are stored unencoded.
    """

    name: str
    samples: Samples
    views: int
    form: LabelForm
    pruning: Fraction = Fraction(1)
    augmentation_bits: int = 0
    container: Container = Container()
    codec_bytes: int = 0

    def __post_init__(self) -> None:
        _at_least("views a sample", self.views, 1)
        _at_least("the pruning ratio", self.pruning, 1)
        _at_least("augmentation bits a view", self.augmentation_bits, 0)
        _at_least("codec bytes", self.codec_bytes, 0)

    @property
    def stored_views(self) -> Fraction:
        """Stored views per sample, E; LPLD 40× stores 7.5 of 300."""
        return self.views / self.pruning

    def with_blocks(self, block_bytes: int) -> "Setting":
        """The same setting, counted as a file system with these blocks counts it."""
        return replace(self, container=replace(self.container, block_bytes=block_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The bits of a setting.

    Attributes:
        samples: number of samples, N.
        labels: number of stored labels, N·E minus those that `drop_last` leaves out.
        batches: number of files or chunks.
        payload_bits: bits of the labels themselves.
        augmentation_bits: bits that say how each view was made.
        container_bits: bits of headers, indexes, tables and padding.
        codec_bits: bits of codebooks and decoder.
        sample_bits: the samples' own bits, which no total of the labels includes.
    """

    samples: int
    labels: int
    batches: int
    payload_bits: int
    augmentation_bits: int
    container_bits: int
    codec_bits: int
    sample_bits: int

    @property
    def parts(self) -> dict[str, int]:
        """Bits of each part of the labels, by name."""
        return {
            "payload": self.payload_bits,
            "augmentation": self.augmentation_bits,
            "container": self.container_bits,
            "codec": self.codec_bits,
        }

    @property
    def label_bits(self) -> int:
        """Bits of all labels: the sum of the parts."""
        return sum(self.parts.values())

    @property
    def label_bits_a_sample(self) -> float:
        """Label bits per sample."""
        return self.label_bits / self.samples

    def bytes_a_label(self, bits: int) -> float:
        """Bytes per label of a part."""
        return bits / 8 / self.labels

    def bytes_a_label_at(self, labels: int) -> float:
        """Total bytes per label of this many labels: the codec is spread over more or fewer."""
        growing = (self.label_bits - self.codec_bits) / self.labels
        return (growing + self.codec_bits / labels) / 8

    def ratio_to(self, reference: "Budget") -> float:
        """How many times larger the reference's labels are."""
        return reference.label_bits / self.label_bits


def budget_of(setting: Setting) -> Budget:
    """Compute the bits of a setting.

    Raises:
        InvalidRequestError: the form does not fit the classes, or nothing is stored.
    """
    box, count = setting.container, setting.samples.count
    an_epoch = count - count % box.batch if box.drop_last else count
    labels = floor(an_epoch * setting.stored_views)
    if labels == 0:
        raise InvalidRequestError(
            f"no label is stored: {count} samples, {float(setting.stored_views):g} views each,"
            f" batches of {box.batch}"
        )
    view_bits = setting.form.payload_bits(setting.samples.classes) + setting.augmentation_bits
    epochs, partial = divmod(labels, an_epoch)
    batches, file_bytes = 0, 0
    for times, held in ((epochs, an_epoch), (1, partial)):
        full, rest = divmod(held, box.batch)
        batches += times * (full + (rest > 0))
        file_bytes += times * full * _file_bytes(box, box.batch * view_bits)
        file_bytes += times * _file_bytes(box, rest * view_bits) if rest else 0
    directories = (epochs + (partial > 0) if box.epoch_directories else 1) * box.block_bytes
    extra = sum(
        _blocks(whole, box.block_bytes)
        for whole in (
            ceil(labels * box.order_bytes_a_label),
            count * box.bytes_a_sample,
            box.fixed_bytes,
        )
    ) + (directories if box.block_bytes > 1 else 0)
    payload = labels * (view_bits - setting.augmentation_bits)
    augmentation = labels * setting.augmentation_bits
    return Budget(
        samples=count,
        labels=labels,
        batches=batches,
        payload_bits=payload,
        augmentation_bits=augmentation,
        container_bits=8 * (file_bytes + extra) - payload - augmentation,
        codec_bits=8 * setting.codec_bytes,
        sample_bits=count * setting.samples.bits_a_sample,
    )


def _file_bytes(box: Container, content_bits: int) -> int:
    return _blocks(-(-content_bits // 8) + box.bytes_a_batch, box.block_bytes)


def _blocks(size: int, block_bytes: int) -> int:
    return -(-size // block_bytes) * block_bytes
