"""What torch operations allocate."""

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class LargeTensors(TorchDispatchMode):
    """Elements of every floating tensor that an operation allocates, besides those given."""

    def __init__(self, *given: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sizes: list[int] = []
        # Held, so that no address comes again.
        self._storages: list[Any] = [tensor.untyped_storage() for tensor in given]

    def __torch_dispatch__(
        self, operation: Any, types: Any, given: Any = (), named: Any = None
    ) -> Any:
        made = operation(*given, **(named or {}))
        if isinstance(made, Tensor) and made.is_floating_point():
            storage = made.untyped_storage()
            known = {kept.data_ptr() for kept in self._storages}
            if storage.data_ptr() not in known:
                self._storages.append(storage)
                self.sizes.append(storage.nbytes() // made.itemsize)
        return made
