"""Whether foreign labels are what their layout or their importer's user says that they are.

Rules:
  * a layout, or `--label-kind`, *states* whether labels are logits or probabilities; the values of
    all rows decide whether that may be;
  * what is stated to be logits is refused if every row is a distribution. One row that is none
    ends the search, so honest logits cost a look at a few rows;
  * what is stated to be probabilities is refused at the first row that is none. The error says
    whether the rows around it look like logits, log-probabilities or spoiled probabilities;
  * a few values in 0…1 may be logits of k classes: there a statement by option is believed;
  * a class ID counts as long as the type in which it was stored tells it from its neighbours.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import LabelKind
from labelcast.codec.topk import MAX_TOTAL, MISSING_LOGIT
from labelcast.errors import LabelFileError, LabelValueError
from labelcast_producers.dense.label_kind import looks_like_probabilities
from labelcast_producers.formats.output.top_k import TopKSource
from labelcast_producers.formats.source import ImportOptions, Part, Source

# Logarithms of fp16 probabilities sum to 1 less exactly than these do.
_LOG_TOLERANCE = 2e-2
_BFLOAT16_EXACT = 2**8
# One fraction in float32 looks like bfloat16 with a chance of 2**-16.
_TELLING_FRACTIONS = 4


def require_stated_meaning(source: Source, options: ImportOptions) -> None:
    """Compare the labels of a source with what they are stated to be.

    Args:
        source: scanned.
        options: that it was scanned with.

    Raises:
        LabelValueError: every row of what should be logits is a distribution; or the first labels
            of what should be probabilities are none.
        LabelFileError: the first file has changed, or is damaged.
    """
    facts = source.facts
    few = facts.top_k is not None
    if facts.label_kind is LabelKind.PROBABILITIES:
        # Importers refuse what is no distribution as they read it.
        _values(source, source.parts[0])
        return
    said = options.label_kind is LabelKind.LOGITS
    width = facts.num_classes if facts.top_k is None else facts.top_k.k
    if width < 2 or (few and said):
        return
    fits = _all_within_distributions if few else looks_like_probabilities
    if not all(fits(_values(source, part)) for part in source.parts):
        return
    sums = "sum to 1 at most" if few else "sum to 1"
    more = ", or --label-kind logits where they are none" if few else ""
    raise LabelValueError(
        f"{source.parts[0].path}: all {facts.index.num_rows} labels lie in 0…1 and {sums}, so these"
        f" are probabilities where {facts.format} has logits: the softmax was most likely taken"
        " before they were stored; give --label-kind probabilities, with the --temperature of that"
        f" softmax{more}",
        path=source.parts[0].path,
    )


def notes_on_kind(
    options: ImportOptions, kind: LabelKind, *, usual: LabelKind, format_name: str
) -> list[str]:
    """What people should know of the kind of labels.

    Args:
        options: of the user.
        kind: of the labels.
        usual: kind that the layout holds unless the user says otherwise.
        format_name: of the layout.
    """
    notes = []
    if kind is not usual:
        notes.append(f"labels are {kind}, as --label-kind says; {format_name} usually has {usual}")
    if kind is LabelKind.PROBABILITIES and options.temperature is None:
        notes.append("probabilities are taken to be of temperature 1; --temperature says else")
    return notes


def no_distribution(
    values: NDArray[Any], row: int, where: Callable[[int], str], *, few: bool = False
) -> LabelValueError:
    """An error that says why a row is most likely no distribution.

    Args:
        values: the row and those that were read with it, shape (n, C), or (n, k) of the likeliest.
        row: the first that is none.
        where: names a row, for messages.
        few: whether classes are left out, whose probabilities may be missing to 1.
    """
    own = values[row].astype(np.float64)
    expected = "not negative, above 0 and at most 1 in all" if few else "in 0…1 and summing to 1"
    if np.isfinite(own).all():
        found = f"its {len(own)} values lie in {own.min():.6g} to {own.max():.6g}"
        found += f" and sum to {own.sum():.6g}"
    else:
        found = "it holds NaN or infinity"
    what = "no probabilities" if few else "no distribution"
    return LabelValueError(
        f"{where(row)}: {what} ({expected}): {found}; {_advice(values)}", row=row
    )


def within_a_distribution(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows may be the probabilities of some of the classes.

    Args:
        values: shape (n, k).

    Returns:
        bool, shape (n,): not negative, and at most 1 in all.
    """
    wide = values.astype(np.float64)
    fitting: NDArray[np.bool_] = (wide >= 0).all(axis=1) & (wide.sum(axis=1) <= MAX_TOTAL)
    return fitting


def exact_below(stored: NDArray[Any]) -> int:
    """The first whole number that a type of stored values cannot tell from the next one.

    bfloat16 reaches labelcast as float32, whose lower half it leaves at zero: where there are some
    fractions among the values, that tells it.

    Args:
        stored: integers or floats of any shape, all that was stored in one tensor.
    """
    if stored.dtype.kind != "f":
        return int(np.iinfo(stored.dtype).max) + 1
    if stored.dtype == np.float32:
        bits = np.ascontiguousarray(stored).view(np.uint32)
        fractions = np.isfinite(stored) & (stored != np.floor(stored))
        if np.count_nonzero(fractions) >= _TELLING_FRACTIONS and not (bits & 0xFFFF).any():
            return _BFLOAT16_EXACT
    return int(2 ** (np.finfo(stored.dtype).nmant + 1))


def require_exact_ids(
    ids: NDArray[Any], num_classes: int, where: Callable[[int], str], *, limit: int
) -> None:
    """Refuse class IDs that rounding or overflow may have changed as they were stored.

    Args:
        ids: as stored, shape (n, k).
        num_classes: C.
        where: names a row, for messages.
        limit: `exact_below` of the tensor that they were stored in.

    Raises:
        LabelFileError: names the first.
    """
    if ids.dtype.kind != "f":
        if num_classes > limit:
            raise LabelFileError(
                f"{where(0)}: class IDs were stored as {ids.dtype}, which holds none from {limit}"
                f" on, but there are {num_classes} classes: larger ones came out as others; store"
                " them as int32 or int64"
            )
        return
    # The number at the limit itself may stand for the next one, if that is a class.
    if num_classes <= limit + 1 or not (ids >= limit).any():
        return
    row, column = (int(at) for at in np.argwhere(ids >= limit)[0])
    kind = "bfloat16" if limit == _BFLOAT16_EXACT else str(ids.dtype)
    raise LabelFileError(
        f"{where(row)}: class ID {ids[row, column]:.0f} was stored as {kind}, which rounds whole"
        f" numbers from {limit} on, so that it may have been another; nothing in the file tells"
        " which: write the files again with class IDs in float32 or as integers (FKD: without"
        " --use_fp16)"
    )


def _values(source: Source, part: Part) -> NDArray[Any]:
    """What was stored of a part: shape (n, C), or (n, k)."""
    if source.facts.top_k is None:
        return source.read(part)
    if isinstance(source, TopKSource):
        return source.read_top_k(part)[1]
    labels = source.read(part)
    if source.facts.label_kind is LabelKind.PROBABILITIES:
        return labels
    shown = labels > MISSING_LOGIT
    return np.where(shown, labels, 0)


def _all_within_distributions(values: NDArray[Any]) -> bool:
    return bool(within_a_distribution(values).all())


def _advice(values: NDArray[Any]) -> str:
    """What most likely happened to labels that are no distributions, and what helps."""
    wide = values.astype(np.float64)
    if not np.isfinite(wide).all():
        return "label that view again"
    outside = (wide < 0).any(axis=1) | (wide > 1).any(axis=1)
    if outside.mean() <= 0.5:
        return "label that view again after the softmax"
    with np.errstate(over="ignore"):
        totals = np.exp(wide).sum(axis=1)
    if (wide <= 0).all() and (np.abs(totals - 1) <= _LOG_TOLERANCE).all():
        return "these are log-probabilities, which are logits too: give --label-kind logits"
    return (
        "most of these rows look like logits: give --label-kind logits, or label again after the"
        " softmax"
    )
