"""How many bytes labels take beside their samples: by formula, as published, and on disk.

The storage analysis of the VQAE paper (arXiv 2603.03808) for any setting. Nothing here reads or
fits labels; only `measured` opens files, and only to get their sizes.
"""

from labelcast_producers.budget.forms import Codes, Dense, Hard, LabelForm, TopK, parse_form
from labelcast_producers.budget.measured import MeasuredLabelSet, measure
from labelcast_producers.budget.model import Budget, Container, Samples, Setting, budget_of
from labelcast_producers.budget.published import (
    IPCS,
    NAMES,
    Published,
    ours,
    published,
    reproduction,
    setting_of,
)

__all__ = [
    "IPCS",
    "NAMES",
    "Budget",
    "Codes",
    "Container",
    "Dense",
    "Hard",
    "LabelForm",
    "MeasuredLabelSet",
    "Published",
    "Samples",
    "Setting",
    "TopK",
    "budget_of",
    "measure",
    "ours",
    "parse_form",
    "published",
    "reproduction",
    "setting_of",
]
