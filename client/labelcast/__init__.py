"""labelcast: soft labels by view, from compressed codes.

    client = LabelClient("labels.example.org:7070")
    label_set = client.open("glyphs:latest", expect=Expectation(temperature=1.0))
    for batch in client.stream(label_set, batches_of_views, Representation.logits()):
        train_on(batch.views, batch.values)

`labelcast.torch` has a loader that pairs these with augmented views.
"""

from labelcast.async_client import AsyncLabelClient
from labelcast.client import LabelClient
from labelcast.codec import LabelKind, Precision
from labelcast.errors import LabelcastError
from labelcast.exchange import DeliveredLabels
from labelcast.label_set import Expectation, LabelContract
from labelcast.representation import Form, Representation
from labelcast.session import RemoteLabelSet
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
    "Precision",
    "RemoteLabelSet",
    "Representation",
    "Views",
]
