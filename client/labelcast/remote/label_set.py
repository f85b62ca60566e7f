"""A label set that a service has."""

from dataclasses import dataclass
from typing import Any

from labelcast.label_set import LabelContract, Manifest


@dataclass(frozen=True, eq=False, slots=True)
class RemoteLabelSet:
    """A label set that a client has resolved, checked and pinned by digest.

    Attributes:
        digest: digest of the manifest.
        manifest: verified against the digest.
        report: how well the codes keep the labels, verified against the manifest; {} if none.
    """

    digest: str
    manifest: Manifest
    report: dict[str, Any]

    @property
    def contract(self) -> LabelContract:
        """What the labels mean."""
        return self.manifest.contract

    @property
    def code_stride(self) -> int:
        """Payload bytes a label."""
        return self.manifest.segments[0].codes.stride
