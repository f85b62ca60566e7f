"""Which codec keeps imported labels as they are."""

from labelcast.codec import LabelKind
from labelcast_producers.formats.source import SourceFacts


def natural_codec(facts: SourceFacts) -> str:
    """The codec that keeps labels unchanged, as `encode` takes it."""
    if facts.top_k is None:
        return "raw:fp16"
    if facts.label_kind is LabelKind.LOGITS:
        return f"topk:{facts.top_k.k}:logits"
    return f"topk:{facts.top_k.k}:{facts.top_k.recovery}"
