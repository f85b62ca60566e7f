"""Describes a label set from its manifest."""

from dataclasses import dataclass
from typing import Any, TypeGuard

from labelcast.augmentation import RecordedPolicy, UnrenderedPolicy, ViewPolicy
from labelcast.cli.printing import byte_text
from labelcast.label_set import Manifest, policy_digest

TOTALS_AT = (1_000_000, 10_000_000, 100_000_000)
_LISTED = 8
_K = "codebook_size"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes per label, in both meanings.

    Attributes:
        payload: bytes of a row of codes.
        augmentation: bytes of recorded views; 0 where views are drawn from seeds.
        total: bytes of everything stored (codes, chunk indices, tables, codec, head, report,
            manifest) per label.
        total_at: total that this codec would reach, by number of labels, if codec, head, report and
            manifest stay the same.
    """

    payload: float
    augmentation: float
    total: float
    total_at: dict[int, float]

    @classmethod
    def of(cls, manifest: Manifest) -> "Sizes":
        """Compute them."""
        labels = manifest.num_labels
        report = 0 if manifest.report is None else manifest.report.size
        head = [] if manifest.head is None else manifest.head.blobs()
        fixed = manifest.codec.size + report + len(manifest.to_bytes())
        fixed += sum(ref.size for ref in head)
        growing = (manifest.total_bytes - fixed) / labels
        return cls(
            payload=sum(segment.codes.payload_bytes for segment in manifest.segments) / labels,
            augmentation=sum(
                section.payload_bytes
                for segment in manifest.segments
                for name, section in segment.sections().items()
                if name in ("records", "mixes")
            )
            / labels,
            total=manifest.total_bytes / labels,
            total_at={count: growing + fixed / count for count in TOTALS_AT},
        )


def describe(manifest: Manifest, codec_name: str, report: dict[str, Any] | None) -> dict[str, Any]:
    """Describe a label set in JSON values."""
    contract, sizes = manifest.contract, Sizes.of(manifest)
    ends = contract.temperatures
    return {
        "digest": manifest.digest,
        "labels": manifest.num_labels,
        "segments": [
            {
                "samples": segment.sample_ids.rows,
                "seeds": segment.seeds.rows,
                "labels": segment.codes.rows,
            }
            for segment in manifest.segments
        ],
        "stages": [stage.as_json() for stage in manifest.stages],
        "sample_order": str(contract.sample_order),
        "num_classes": contract.num_classes,
        "label_kind": str(contract.label_kind),
        "temperatures": None if ends is None else [ends.low, ends.high],
        "teacher": {"name": contract.teacher_name, "digest": contract.teacher},
        "dataset": contract.dataset,
        "class_list": contract.class_list,
        "augmentation": policy_digest(contract.policy),
        "augmented": contract.policy is not None,
        "views": _views_of(contract.policy),
        "codec": {"name": codec_name, "digest": contract.codec, "bytes": manifest.codec.size},
        "context": None if contract.context is None else contract.context.as_json(),
        "bytes_a_label": {
            "payload": sizes.payload,
            "augmentation": sizes.augmentation,
            "total": sizes.total,
            "total_at": {str(count): value for count, value in sizes.total_at.items()},
        },
        "fingerprints": _fingerprints(manifest),
        "control_views": manifest.has_control_views,
        "hard_labels": all(segment.hard_labels is not None for segment in manifest.segments),
        "language": _language(manifest),
        "report": report,
    }


def pairs_of(described: dict[str, Any]) -> list[tuple[str, str]]:
    """Describe it for people."""
    codec, size, teacher = described["codec"], described["bytes_a_label"], described["teacher"]
    ends = described["temperatures"]
    grids = [_grid(entry) for entry in described["segments"]]
    totals = [f"{size['total_at'][str(at)]:.1f} at {at // 10**6} M" for at in TOTALS_AT]
    kind = described["label_kind"] + (
        "" if ends is None else f", temperatures {ends[0]:g} to {ends[1]:g}"
    )
    return [
        ("digest", described["digest"]),
        ("labels", f"{described['labels']:,} of {described['num_classes']:,} classes"),
        *_language_pairs(described["language"], described["segments"]),
        *([] if described["language"] else [("samples × seeds", " + ".join(grids))]),
        ("label kind", kind),
        ("teacher", teacher["name"]),
        *_stage_pairs(described["stages"]),
        ("sample order", described["sample_order"]),
        ("fingerprints", _of(described["fingerprints"])),
        ("control views", _control(described["control_views"])),
        ("views", described["views"]),
        ("augmentation", described["augmentation"] if described["augmented"] else "none"),
        ("codec", codec["name"] + _shape(described["report"])),
        ("conditioned on", "hard labels, mix and crop" if described["context"] else "nothing"),
        ("decoder size", byte_text(codec["bytes"])),
        ("payload bytes a label", f"{size['payload']:g}"),
        *([("augmentation bytes", f"{size['augmentation']:.1f}")] if size["augmentation"] else []),
        ("total bytes a label", f"{size['total']:.1f} ({', '.join(totals)} labels)"),
        *_report_pairs(described["report"]),
    ]


def _language(manifest: Manifest) -> dict[str, Any] | None:
    language = manifest.contract.language
    if language is None:
        return None
    return language.as_json() | {"head_is_shipped": manifest.head is not None}


def _language_pairs(
    language: dict[str, Any] | None, segments: list[dict[str, Any]]
) -> list[tuple[str, str]]:
    if language is None:
        return []
    tokenizer, head, padding = language["tokenizer"], language["head"], language["padding"]
    sequences = [
        f"{each['samples']:,} of up to {each['seeds']:,} tokens, {each['labels']:,} labelled"
        for each in segments
    ]
    named = "none"
    if head is not None:
        where = "shipped" if language["head_is_shipped"] else "named only"
        named = f"{head['width']:,} channels, {head['dtype']}, {where}, {head['digest']}"
    without = f", without {padding:,} columns of padding" if padding else ""
    return [
        ("sequences", " + ".join(sequences)),
        ("tokenizer", f"{tokenizer['name']}{without}, {tokenizer['digest']}"),
        ("head", named),
    ]


def _fingerprints(manifest: Manifest) -> str | None:
    if manifest.site_fingerprints is not None:
        return "sites"
    return None if manifest.fingerprints is None else str(manifest.fingerprints)


def _of(fingerprints: str | None) -> str:
    if fingerprints == "sites":
        return "with its sites"
    return "none" if fingerprints is None else f"of {fingerprints}"


def _control(has_control_views: bool) -> str:
    return "thumbnails of a few samples' views, 8 × 8" if has_control_views else "none"


def _views_of(policy: ViewPolicy | None) -> str:
    if policy is None:
        return "samples as they are"
    if isinstance(policy, UnrenderedPolicy):
        return policy.meaning
    size = f"{policy.view_height} × {policy.view_width}"
    made = "recorded" if isinstance(policy, RecordedPolicy) else "drawn from seeds"
    return f"{made}, {size}, mix {policy.mix}"


def _grid(entry: dict[str, Any]) -> str:
    cells, labels = entry["samples"] * entry["seeds"], entry["labels"]
    whole = "" if labels == cells else f" ({labels:,} of {cells:,})"
    return f"{entry['samples']:,} × {entry['seeds']:,}{whole}"


def _stage_pairs(stages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    pairs = []
    for number, stage in enumerate(stages):
        rate = (
            "" if stage["learning_rate"] is None else f", learning rate {stage['learning_rate']:g}"
        )
        epochs = "" if stage["epochs"] is None else f", {stage['epochs']} epochs"
        pairs.append((f"stage {number}", f"{stage['name']}{rate}{epochs}"))
    return pairs


def _report_pairs(report: dict[str, Any] | None) -> list[tuple[str, str]]:
    """How well the codes keep the labels: over the whole set, and on views that were not fitted."""
    fit = _table(report, "fit")
    unseen = _table(fit, "unseen")
    # If nothing was held out, the fitted views are all there is to judge by.
    name, measured = ("unseen", unseen) if unseen else ("fitted", _table(fit, "seen"))
    agreement = _number(report or {}, "hard_label_agreement")
    found = [
        ("over all views", _figures(report or {})),
        (f"over {name} views", _figures(measured)),
        ("perplexity per codebook", _perplexities(measured, _number(_table(fit, "config"), _K))),
        ("names a shown class", "" if agreement is None else f"{agreement:.1%} of the labels"),
    ]
    return [(name, text) for name, text in found if text]


def _figures(measured: dict[str, Any]) -> str:
    kl, top1, top5 = (
        _number(measured, name) for name in ("kl_nats", "top1_agreement", "top5_agreement")
    )
    parts = [
        "" if kl is None else f"KL {kl:.3f} nats",
        "" if top1 is None else f"top-1 agreement {top1:.1%}",
        "" if top5 is None else f"top-5 {top5:.1%}",
    ]
    return ", ".join(part for part in parts if part)


def _perplexities(measured: dict[str, Any], size: float | None) -> str:
    """Codewords in use: of each codebook if they fit a line, else their range."""
    values = measured.get("perplexities")
    if not isinstance(values, list) or not values or not all(map(_is_number, values)):
        return ""
    if len(values) <= _LISTED:
        text = ", ".join(f"{value:.0f}" for value in values)
    else:
        mean = sum(values) / len(values)
        text = f"{min(values):.0f} to {max(values):.0f}, mean {mean:.0f}"
    return text if size is None else f"{text} of {size:.0f} codewords"


def _shape(report: dict[str, Any] | None) -> str:
    """Describe a fit's codes; "" for codecs that are not fitted."""
    config = _table(_table(report, "fit"), "config")
    codes, size = _number(config, "codes"), _number(config, _K)
    return "" if codes is None or size is None else f", {codes:.0f} codes of {size:.0f} codewords"


def _table(within: dict[str, Any] | None, name: str) -> dict[str, Any]:
    # Reports come from whoever pushed the set: fields of another form than ours are skipped.
    found = (within or {}).get(name)
    return found if isinstance(found, dict) else {}


def _number(within: dict[str, Any], name: str) -> float | None:
    found = within.get(name)
    return found if _is_number(found) else None


def _is_number(value: Any) -> TypeGuard[float]:
    # JSON has integers that no float holds; formatting one would fail.
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53
    return whole or isinstance(value, float)
