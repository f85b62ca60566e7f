"""Tables of language.json."""

from typing import Any

from benchmarks.language.points import HARD

Result = dict[str, Any]
_MIB = 2**20


def students_table(result: Result) -> str:
    """What students of each form keep, for how many bytes."""
    lines = [
        (
            "| labels | bytes a token | at rest | on the wire | held-out perplexity | nats"
            " | share of dense KD's gain | seeds | peak resident |"
        ),
        f"|---|{'---|' * 8}",
    ]
    for point in sorted(result["points"], key=lambda one: -_payload(one)):
        labels, deviation = point["labels"], point["deviation"]
        spread = "" if deviation is None else f" ± {deviation:.3f}"
        nats = point["held_out_nats"]
        cells = [
            point["title"],
            *(
                _number(labels.get(f"{name}_bytes_per_token"))
                for name in ("payload", "rest", "wire")
            ),
            _number(point["perplexity"]),
            "–" if nats is None else f"{nats:.3f}{spread}",
            _share(point["share_of_gain"]),
            str(len(point["students"])),
            _mebibytes(point.get("student_peak_rss_bytes")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def fidelity_table(result: Result) -> str:
    """How far labels are from the exact ones, and how fast they are made and read."""
    lines = [
        (
            "| labels | KL from exact: mean | 50 % | 90 % | 99 % | 99.9 % | most | KL to exact:"
            " mean | top-1 | encode tokens/s | peak resident | read tokens/s | dense tokens/s |"
        ),
        f"|---|{'---|' * 12}",
    ]
    for point in sorted(result["points"], key=lambda one: -_payload(one)):
        if point["name"] == HARD:
            continue
        labels = point["labels"]
        found = labels["fidelity"]
        cells = [
            point["title"],
            _nats(found["kl"]["mean"]),
            *(_nats(value) for value in found["kl"]["quantiles"].values()),
            _nats(found["reverse_kl"]["mean"]),
            f"{found['top1_agreement']:.1%}",
            _number(labels["encode_tokens_per_second"]),
            _mebibytes(labels["encode_peak_rss_bytes"]),
            _number(labels["read_tokens_per_second"]),
            _number(labels["decode_tokens_per_second"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def corpus_table(result: Result) -> str:
    """Where texts come from, and what was left out."""
    corpus = result["corpus"]
    lines = [
        (
            "| source | documents read | left out | paragraphs | equal, left out | similar, left"
            " out | to train on: documents | tokens | held out: documents | tokens |"
        ),
        f"|---|{'---|' * 9}",
    ]
    for source, left in corpus["sources"].items():
        taken = [corpus[part]["by_source"][source] for part in ("train", "held_out")]
        counts = [*left.values(), *(part[name] for part in taken for name in part)]
        lines.append(f"| {source} | {' | '.join(f'{count:,}' for count in counts)} |")
    return "\n".join(lines)


def _payload(point: Result) -> float:
    return float(point["labels"]["payload_bytes_per_token"])


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def _nats(value: float | None) -> str:
    """None stands for infinity: a token of some probability was given none."""
    if value is None:
        return "∞"
    return f"{value:.3f}" if value >= 0.1 else f"{value:.1e}"


def _share(found: Result | None) -> str:
    if found is None:
        return "–"
    error = found["standard_error"]
    return f"{found['mean']:.1%}" + ("" if error is None else f" ± {100 * error:.1f}")


def _mebibytes(value: float | None) -> str:
    return "–" if value is None else f"{value / _MIB:,.0f} MiB"
