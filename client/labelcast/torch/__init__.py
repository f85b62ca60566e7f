"""labelcast for PyTorch: decoding on a device and what a training loop needs."""

from labelcast.torch.augmentation import ViewRenderer
from labelcast.torch.decoding import TorchDecoder, load_decoder
from labelcast.torch.labels import ArrayLabels, LabelSource, ServiceLabels
from labelcast.torch.loader import Batch, SoftLabelLoader
from labelcast.torch.losses import mixed_hard_loss, soft_label_loss
from labelcast.torch.samples import ImageReader, SampleDataset, SampleTable

__all__ = [
    "ArrayLabels",
    "Batch",
    "ImageReader",
    "LabelSource",
    "SampleDataset",
    "SampleTable",
    "ServiceLabels",
    "SoftLabelLoader",
    "TorchDecoder",
    "ViewRenderer",
    "load_decoder",
    "mixed_hard_loss",
    "soft_label_loss",
]
