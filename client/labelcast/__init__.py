"""labelcast: soft labels by view, from compressed codes.

    client = LabelClient("labels.example.org:7070")
    label_set = client.open("glyphs:latest", expect=Expectation(temperature=1.0))
    for batch in client.stream(label_set, batches_of_views, Representation.logits()):
        train_on(batch.views, batch.values)

`labelcast.torch` has a loader that pairs these with augmented views.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labelcast.codec import LabelKind, Precision
    from labelcast.errors import LabelcastError
    from labelcast.label_set import Expectation, LabelContract, Missing
    from labelcast.remote.async_client import AsyncLabelClient
    from labelcast.remote.client import LabelClient
    from labelcast.remote.label_set import RemoteLabelSet
    from labelcast.remote.stream import DeliveredLabels
    from labelcast.representation import Form, Representation
    from labelcast.views import Views

__version__ = "0.1.0"

__all__ = [
    "AsyncLabelClient",
    "DeliveredLabels",
    "Expectation",
    "Form",
    "LabelClient",
    "LabelContract",
    "LabelKind",
    "LabelcastError",
    "Missing",
    "Precision",
    "RemoteLabelSet",
    "Representation",
    "Views",
]

# Imported on first use: an edge that only decodes has numpy and safetensors, and no grpc.
_HOMES = {
    "AsyncLabelClient": "labelcast.remote.async_client",
    "DeliveredLabels": "labelcast.remote.stream",
    "Expectation": "labelcast.label_set",
    "Form": "labelcast.representation",
    "LabelClient": "labelcast.remote.client",
    "LabelContract": "labelcast.label_set",
    "LabelKind": "labelcast.codec",
    "LabelcastError": "labelcast.errors",
    "Missing": "labelcast.label_set",
    "Precision": "labelcast.codec",
    "RemoteLabelSet": "labelcast.remote.label_set",
    "Representation": "labelcast.representation",
    "Views": "labelcast.views",
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
