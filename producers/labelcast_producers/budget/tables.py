"""Budgets as tables for people, on standard output."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from labelcast_producers.budget.measured import MeasuredLabelSet
from labelcast_producers.budget.model import GB, GIB, SCALES
from labelcast_producers.budget.report import Entry, reproduction_as_json

_PART_REMARKS = {
    "payload": "the labels themselves",
    "augmentation": "how each view was made",
    "container": "headers, indexes, tables, padding",
    "codec": "codebooks and decoder",
}


def print_overview(groups: Iterable[Sequence[Entry]]) -> None:
    """Print a table for each group of settings over the same samples, and what differs."""
    console, remarks = _console(), dict[str, str]()
    for entries in groups:
        first = entries[0]
        size = first.budget.sample_bits / 8
        title = (
            f"{first.setting.samples.images_per_class} images per class:"
            f" {first.budget.samples:,} samples of their own {_size(size / GB)} GB"
            f" ({_size(size / GIB)} GiB)"
        )
        table = _table(
            title,
            ["setting", "label"],
            [
                *("views", "payload", "augm.", "container", "codec", "total", "GB", "GiB"),
                *("published", "÷ samples", f"{first.reference_name} ÷"),
            ],
        )
        for entry in entries:
            table.add_row(*_overview_row(entry))
            if entry.published is not None:
                remarks[entry.setting.name] = entry.published.remark
        _print_table(console, table)
    _print_remarks(console, remarks)


def print_entry(entry: Entry) -> None:
    """Print one setting in full."""
    console, setting, budget = _console(), entry.setting, entry.budget
    table = _table(
        f"{setting.name}: {setting.samples.classes:,} classes ×"
        f" {setting.samples.images_per_class:,} images,"
        f" {float(setting.stored_views):g} of {setting.views:,} views stored,"
        f" {budget.labels:,} labels {setting.form}",
        ["part"],
        ["bits a label", "bytes a label", "GB", "GiB", "share", "bits a sample"],
    )
    for name, bits in [*budget.parts.items(), ("labels", budget.label_bits)]:
        table.add_row(
            name if name == "labels" else f"{name}: {_PART_REMARKS[name]}",
            _size(bits / budget.labels),
            _size(budget.bytes_a_label(bits)),
            _size(bits / 8 / GB),
            _size(bits / 8 / GIB),
            f"{bits / budget.label_bits:.1%}",
            f"{bits / budget.samples:,.0f}",
        )
    samples = budget.sample_bits
    own = f"{setting.samples.bits_a_sample:,}"
    sizes = (_size(samples / 8 / GB), _size(samples / 8 / GIB))
    table.add_row("samples: their own bits", "", "", *sizes, "", own)
    _print_table(console, table)
    at = [f"{_size(budget.bytes_a_label_at(count))} at {count // 10**6} M" for count in SCALES]
    console.print(f"total bytes a label: {', '.join(at)} labels")
    weight = f"labels weigh {_size(budget.label_bits / samples)} × the samples; " if samples else ""
    console.print(
        f"{weight}{_size(budget.ratio_to(entry.reference))} × less than {entry.reference_name}"
    )
    published = entry.published
    if published is not None and published.size_gib is not None:
        verdict = "reproduced" if published.reproduced else f"off by {published.deviation:+.2%}"
        console.print(
            f"published: {published.size_gib:.2f} GiB ({published.remark});"
            f" counted so: {published.counted_gib:.3f} GiB, {verdict}"
        )
    elif published is not None:
        console.print(f"published: no size ({published.remark})")


def print_measured(measured: MeasuredLabelSet) -> None:
    """Print the sizes of a label set on disk."""
    console = _console()
    table = _table(
        f"{measured.labels:,} labels of {measured.samples:,} samples, {measured.digest}",
        ["part"],
        ["bytes", "bytes a label", "share of total"],
    )
    inside = {
        "container": [
            ("  tables of samples and seeds", measured.tables_bytes),
            ("  chunk indexes", measured.index_bytes),
            ("  manifest", measured.manifest_bytes),
        ]
    }
    for name, size in [*measured.parts.items(), ("total", measured.total_bytes)]:
        share = f"{size / measured.total_bytes:.1%}"
        table.add_row(name, f"{size:,}", _size(size / measured.labels), share)
        for inner, bytes_inside in inside.get(name, []):
            table.add_row(inner, f"{bytes_inside:,}", _size(bytes_inside / measured.labels), "")
    _print_table(console, table)
    at = [f"{_size(size)} at {count // 10**6} M" for count, size in measured.total_at.items()]
    console.print(f"total bytes a label: {_size(measured.total_here)} here, {', '.join(at)} labels")
    total = measured.total_bytes
    console.print(f"total: {total / GB:.6f} GB, {total / GIB:.6f} GiB")


def _overview_row(entry: Entry) -> list[str]:
    budget, published = entry.budget, entry.published
    told = "-"
    if published is not None and published.size_gib is not None:
        verdict = "=" if published.reproduced else f"≠ {published.counted_gib:.2f}"
        told = f"{published.size_gib:.2f} {verdict}"
    against = budget.label_bits / budget.sample_bits if budget.sample_bits else None
    return [
        entry.setting.name,
        str(entry.setting.form),
        f"{float(entry.setting.stored_views):g}",
        *(_size(budget.bytes_a_label(bits)) for bits in budget.parts.values()),
        _size(budget.bytes_a_label(budget.label_bits)),
        _size(budget.label_bits / 8 / GB),
        _size(budget.label_bits / 8 / GIB),
        told,
        "-" if against is None else _size(against),
        _size(budget.ratio_to(entry.reference)),
    ]


def _print_remarks(console: Console, remarks: dict[str, str]) -> None:
    console.print(
        "Payload to total are bytes a label; GB and GiB are all labels, by the files' own sizes."
    )
    if not remarks:
        return
    console.print(
        "Published sizes are GiB; = means reproduced, ≠ what we find, counted as the figure counts:"
    )
    for name, remark in remarks.items():
        console.print(f"  {name:<10} {remark}")
    found = reproduction_as_json()
    console.print(f"{found['reproduced']} of {found['published']} published sizes reproduced.")
    for one in found["not_reproduced"]:
        console.print(
            f"  {one['name']} at {one['images_per_class']} images per class: published"
            f" {one['gib']:.2f}, found {one['computed_gib']:.3f} GiB ({one['deviation']:+.2%})"
        )


def _table(title: str, words: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for name in words:
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _console() -> Console:
    return Console(highlight=False, markup=False, soft_wrap=True)


def _print_table(console: Console, table: Table) -> None:
    # A truncated column would show another figure: wide tables overflow a narrow terminal instead.
    unbounded = console.options.update(max_width=1000)
    wanted = Measurement.get(console, unbounded, table).maximum
    console.width = max(console.width, wanted)
    console.print(table)


def _size(value: float) -> str:
    """Format a number with about four figures, plain down to a thousandth."""
    if value == 0:
        return "0"
    if value >= 1000:
        return f"{value:,.0f}"
    for bound, decimals in ((100, 1), (10, 2), (0.01, 3)):
        if value >= bound:
            return f"{value:.{decimals}f}"
    return f"{value:.2g}"
