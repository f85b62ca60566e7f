"""Tables of what control views notice."""

from typing import Any


def faults_table(result: dict[str, Any]) -> str:
    """Starts with each fault that were refused, and the views that showed it."""
    lines = [
        "| fault | shows in | starts refused | views that differ |",
        "|---|---|---|---|",
    ]
    for found in (*result["faults"], *result["harmless"]):
        share = found["views_that_differ"] / found["views"] if found["views"] else 0.0
        refused = f"{found['alarms']} of {found['starts']}"
        lines.append(f"| {found['fault']} | {found['where']} | {refused} | {share:.0%} |")
    return "\n".join(lines)


def clean_table(result: dict[str, Any]) -> str:
    """Starts without a fault, and how far they stayed from an alarm."""
    clean = result["clean"]
    bound = clean["most_alarms_a_start"]
    cells = [
        f"{clean['starts']:,}",
        f"{clean['alarms']}",
        "–" if bound is None else f"{bound:.2%}",
        f"{clean['largest_pixel_difference']:.4f}/255 of 2/255",
        f"{clean['largest_label_difference']:.2f} of 1",
    ]
    lines = [
        (
            "| starts without a fault | false alarms | at most (95 %) | largest difference, means"
            " | labels |"
        ),
        "|---|---|---|---|---|",
        f"| {' | '.join(cells)} |",
    ]
    return "\n".join(lines)
