"""Budgets as JSON values: what `--json` prints."""

from dataclasses import dataclass
from typing import Any

from labelcast_producers.budget.measured import MeasuredLabelSet
from labelcast_producers.budget.model import GB, GIB, SCALES, Budget, Setting, budget_of
from labelcast_producers.budget.published import Published, reproduction


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One setting of a report.

    Attributes:
        setting: setting of this entry.
        budget: its bits.
        reference: bits of the setting that ratios refer to.
        reference_name: name of that setting.
        published: published figure for it; None if there is none.
    """

    setting: Setting
    budget: Budget
    reference: Budget
    reference_name: str
    published: Published | None = None


def entry_as_json(entry: Entry) -> dict[str, Any]:
    """Convert a setting: bits, bytes per label and totals, in GB (10⁹) and GiB (2³⁰)."""
    setting, budget = entry.setting, entry.budget
    split = {name: budget.bytes_a_label(bits) for name, bits in budget.parts.items()}
    return {
        "name": setting.name,
        "classes": setting.samples.classes,
        "images_per_class": setting.samples.images_per_class,
        "samples": budget.samples,
        "views": setting.views,
        "stored_views": float(setting.stored_views),
        "label": str(setting.form),
        "labels": budget.labels,
        "batches": budget.batches,
        "bits": budget.parts | {"labels": budget.label_bits, "samples": budget.sample_bits},
        "bytes_a_label": split | {"total": budget.bytes_a_label(budget.label_bits)},
        "bytes_a_label_at": {str(count): budget.bytes_a_label_at(count) for count in SCALES},
        "bits_a_sample": {
            "sample": setting.samples.bits_a_sample,
            "labels": budget.label_bits_a_sample,
        },
        "labels_gb": budget.label_bits / 8 / GB,
        "labels_gib": budget.label_bits / 8 / GIB,
        "samples_gb": budget.sample_bits / 8 / GB,
        "samples_gib": budget.sample_bits / 8 / GIB,
        "reference": entry.reference_name,
        "times_smaller_than_reference": budget.ratio_to(entry.reference),
        "published": None if entry.published is None else published_as_json(entry.published),
    }


def published_as_json(published: Published) -> dict[str, Any]:
    """Convert a published figure and ours, counted the same way."""
    return {
        "gib": published.size_gib,
        "computed_gib": None if published.size_gib is None else published.counted_gib,
        "deviation": published.deviation,
        "reproduced": published.reproduced,
        "counts": published.remark,
    }


def reproduction_as_json() -> dict[str, Any]:
    """How many published sizes the formula matches, and every one that it does not."""
    every = reproduction()
    return {
        "reproduced": sum(bool(one.reproduced) for one in every),
        "published": len(every),
        "not_reproduced": [
            {
                "name": one.setting.name,
                "images_per_class": one.setting.samples.images_per_class,
                **published_as_json(one),
            }
            for one in every
            if not one.reproduced
        ],
    }


def measured_as_json(measured: MeasuredLabelSet) -> dict[str, Any]:
    """Convert the sizes of a label set on disk."""
    split = {name: size / measured.labels for name, size in measured.parts.items()}
    return {
        "digest": measured.digest,
        "labels": measured.labels,
        "samples": measured.samples,
        "bytes": measured.parts | {"total": measured.total_bytes},
        "container_bytes": {
            "tables": measured.tables_bytes,
            "indexes": measured.index_bytes,
            "manifest": measured.manifest_bytes,
        },
        "bytes_a_label": split | {"total": measured.total_here},
        "bytes_a_label_at": {str(count): size for count, size in measured.total_at.items()},
        "total_gb": measured.total_bytes / GB,
        "total_gib": measured.total_bytes / GIB,
    }


def entry_of(
    setting: Setting,
    reference: Setting,
    published: Published | None = None,
) -> Entry:
    """Compute a setting and its reference.

    Raises:
        InvalidRequestError: one of them is impossible.
    """
    return Entry(
        setting=setting,
        budget=budget_of(setting),
        reference=budget_of(reference),
        reference_name=reference.name,
        published=published,
    )
