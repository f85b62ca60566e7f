"""labelcast: soft labels by view, from compressed codes.

    label_set = labelcast.open("mine:v1", address="labels.example.org:7070", tls=True)
    label_set = labelcast.open("label-set/")                      # or a directory
    soft = label_set.labels(sample_ids, seeds)                    # float32, shape (N, C)

    read = label_set.reader()                                     # for your own training loop
    views = label_set.views(sample_ids, seed)                     # which crop, flip, partner
    soft = read(views)

`labelcast.torch` has a loader that pairs labels with augmented views.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import labelcast.network.forks  # noqa: F401 - sees what is open when a process is forked

if TYPE_CHECKING:
    from labelcast.codec import LabelKind, Precision
    from labelcast.errors import LabelcastError
    from labelcast.label_set import Expectation, LabelContract, MissingViews
    from labelcast.label_set.language import tokenizer_digest
    from labelcast.label_set.student_side import UNCHECKED
    from labelcast.network.tls import Tls
    from labelcast.opening.delivered import DeliveredLabels
    from labelcast.opening.directory_or_service import open  # noqa: A004 - a label set is opened as a file is
    from labelcast.opening.drawn_views import DrawnViews
    from labelcast.opening.label_reader import LabelReader
    from labelcast.opening.label_set import LabelSet
    from labelcast.opening.loops.asked_labels import AskedLabels
    from labelcast.opening.loops.loop_reader import LoopReader
    from labelcast.opening.loops.read_labels import OnMiss, ReadLabels
    from labelcast.plans import Padding, Plan, SequencePlan
    from labelcast.remote.async_client import AsyncLabelClient
    from labelcast.remote.client import LabelClient
    from labelcast.remote.remote_label_set import AsyncRemoteLabelSet, RemoteLabelSet
    from labelcast.representation import Form, Representation
    from labelcast.views import Views

__version__ = "0.1.0"

__all__ = [
    "UNCHECKED",
    "AskedLabels",
    "AsyncLabelClient",
    "AsyncRemoteLabelSet",
    "DeliveredLabels",
    "DrawnViews",
    "Expectation",
    "Form",
    "LabelClient",
    "LabelContract",
    "LabelKind",
    "LabelReader",
    "LabelSet",
    "LabelcastError",
    "LoopReader",
    "MissingViews",
    "OnMiss",
    "Padding",
    "Plan",
    "Precision",
    "ReadLabels",
    "RemoteLabelSet",
    "Representation",
    "SequencePlan",
    "Tls",
    "Views",
    "open",
    "tokenizer_digest",
]

# Imported on first use: an edge that only decodes has numpy and safetensors, and no grpc.
_HOMES = {
    "UNCHECKED": "labelcast.label_set.student_side",
    "AskedLabels": "labelcast.opening.loops.asked_labels",
    "AsyncLabelClient": "labelcast.remote.async_client",
    "AsyncRemoteLabelSet": "labelcast.remote.remote_label_set",
    "DeliveredLabels": "labelcast.opening.delivered",
    "DrawnViews": "labelcast.opening.drawn_views",
    "Expectation": "labelcast.label_set",
    "Form": "labelcast.representation",
    "LabelClient": "labelcast.remote.client",
    "LabelContract": "labelcast.label_set",
    "LabelKind": "labelcast.codec",
    "LabelReader": "labelcast.opening.label_reader",
    "LabelSet": "labelcast.opening.label_set",
    "LabelcastError": "labelcast.errors",
    "LoopReader": "labelcast.opening.loops.loop_reader",
    "MissingViews": "labelcast.label_set",
    "OnMiss": "labelcast.opening.loops.read_labels",
    "Padding": "labelcast.plans",
    "Plan": "labelcast.plans",
    "Precision": "labelcast.codec",
    "ReadLabels": "labelcast.opening.loops.read_labels",
    "RemoteLabelSet": "labelcast.remote.remote_label_set",
    "Representation": "labelcast.representation",
    "SequencePlan": "labelcast.plans",
    "Tls": "labelcast.network.tls",
    "Views": "labelcast.views",
    "open": "labelcast.opening.directory_or_service",
    "tokenizer_digest": "labelcast.label_set.language",
}


def _lazily(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


if not TYPE_CHECKING:  # A type checker would take any name for one that exists.
    __getattr__ = _lazily


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
