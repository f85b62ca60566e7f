"""The label side of your own training loop, on a torch device."""

from typing import Any

import torch
from numpy.typing import NDArray

from labelcast.augmentation import ViewPolicy
from labelcast.label_set.student_side import Unchecked
from labelcast.opening.delivered import DeliveredLabels
from labelcast.opening.label_reader import LabelReader
from labelcast.opening.label_set import LabelSet
from labelcast.representation import Form, Representation
from labelcast.torch.coded_labels import CodedLabels
from labelcast.torch.decoding import TorchDecoder, load_decoder
from labelcast.views import Rows


class TorchLabelReader(LabelReader):
    """A `LabelReader` whose labels are tensors on a device; codes are decoded there.

    Args:
        label_set: label set to read.
        representation: codes, or dense labels.
        policy: policy that renders the views.
        device: device of the labels.
    """

    def __init__(
        self,
        label_set: LabelSet,
        representation: Representation,
        *,
        policy: ViewPolicy | Unchecked | None,
        device: torch.device | str,
    ) -> None:
        super().__init__(label_set, representation, policy=policy)
        self._device = torch.device(device)
        self._decoder: TorchDecoder | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Decoders prove themselves where they are loaded.
        return self.__dict__ | {"_decoder": None}

    def prepare(self) -> None:
        """See `LabelReader.prepare`."""
        if self._representation.form is Form.CODES:
            self._loaded()
            self._label_set.context()

    def decode(self, batch: DeliveredLabels) -> Any:
        """See `LabelReader.decode`."""
        if self._representation.form is not Form.CODES:
            # Copied: torch has no read-only tensors, and these bytes belong to the message.
            return self.placed(batch.values.copy())
        return self._loaded().decode(batch.rows, self._context_rows(batch))

    def _context_rows(self, batch: DeliveredLabels) -> Rows | None:
        context = self._label_set.context()
        return None if context is None else context.rows(batch.views)

    def placed(self, values: NDArray[Any]) -> Any:
        """See `LabelReader.placed`."""
        return torch.from_numpy(values).to(self._device)

    def _loaded(self) -> TorchDecoder:
        if self._decoder is None:
            # Proven on this device: it may compute differently from the numpy decoder.
            self._decoder = load_decoder(
                self._label_set.artifact(), self._device, head=self._label_set.head()
            )
        return self._decoder

    def _joined(self, parts: list[Any]) -> Any:
        return torch.cat(parts)


class CodedLabelReader(TorchLabelReader):
    """A reader whose labels stay codes until a loss decodes them: a `CodedLabels` for each call.

    Args:
        label_set: label set to read.
        policy: policy that renders the views.
        device: device of the codes, which decodes them later.
    """

    def __init__(
        self,
        label_set: LabelSet,
        *,
        policy: ViewPolicy | Unchecked | None,
        device: torch.device | str,
    ) -> None:
        super().__init__(label_set, Representation.codes(), policy=policy, device=device)

    def decode(self, batch: DeliveredLabels) -> CodedLabels:
        """Codes of a delivered batch, on the device and not decoded."""
        return CodedLabels.of(self._loaded(), batch.rows, self._context_rows(batch))

    def _joined(self, parts: list[CodedLabels]) -> CodedLabels:
        return CodedLabels.joined(parts)
