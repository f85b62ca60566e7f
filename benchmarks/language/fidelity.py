"""How far the labels of a point are from the exact ones."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.language.label_sets import views_of
from benchmarks.language.place import Place
from benchmarks.language.points import Point
from labelcast.codec import LabelKind
from labelcast.label_set_directory import LabelSetDirectory

QUANTILES = (0.5, 0.9, 0.99, 0.999, 1.0)
_BLOCK = 128


def fidelity(point: Point, place: Place) -> dict[str, Any]:
    """Compare decoded labels with the exact ones, on rows that are evenly spread.

    Returns:
        kl: of the exact labels from the decoded ones, in nats: mean, quantiles, and the share of
            rows where it is infinite: a token of some probability was given none.
        reverse_kl: of the decoded from the exact ones.
        top1_agreement: share of rows with the same likeliest token.
        rows: how many were compared.
    """
    lengths = place.train.lengths
    views = views_of(np.arange(len(lengths)), lengths)
    rows = min(place.scale.fidelity_rows, len(views))
    chosen = views[np.linspace(0, len(views) - 1, rows).astype(np.int64)]
    exact, labels = LabelSetDirectory(place.exact), place.label_set(point)
    forward, backward, agreed = list[Tensor](), list[Tensor](), 0
    for batch in chosen.batches(_BLOCK):
        truth, found = (
            _log_probabilities(each.codec().decode(each.gather(batch)), each.codec().header)
            for each in (exact, labels)
        )
        forward.append(_kl(truth, found))
        backward.append(_kl(found, truth))
        agreed += int((truth.argmax(dim=1) == found.argmax(dim=1)).sum())
    return {
        "rows": rows,
        "kl": _distribution(torch.cat(forward)),
        "reverse_kl": _distribution(torch.cat(backward)),
        "top1_agreement": agreed / rows,
    }


def _log_probabilities(values: Any, header: Any) -> Tensor:
    labels = torch.from_numpy(values)
    if header.label_kind is LabelKind.LOGITS:
        return labels.double().log_softmax(dim=1)
    return labels.double().log()


def _kl(first: Tensor, second: Tensor) -> Tensor:
    """KL of each row, in nats: what has no probability in the first adds nothing."""
    terms = first.exp() * (first - second)
    return terms.where(first > -torch.inf, 0.0).sum(dim=1)


def _distribution(values: Tensor) -> dict[str, Any]:
    """Infinite ones, which JSON does not know, are None."""
    known = values.isfinite()
    quantiles = torch.quantile(values.where(known, 1e30), torch.tensor(QUANTILES).double())
    return {
        "mean": float(values.mean()) if bool(known.all()) else None,
        "infinite": float((~known).double().mean()),
        "quantiles": {
            f"{q:g}": value if value < 1e29 else None
            for q, value in zip(QUANTILES, quantiles.tolist(), strict=True)
        },
    }
