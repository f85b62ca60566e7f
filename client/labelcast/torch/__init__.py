"""labelcast for PyTorch: decoding on a device and what a training loop needs."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labelcast.torch.code_loss import coded_label_loss
    from labelcast.torch.coded_labels import CodedLabels
    from labelcast.torch.data.plan import PlannedBatch, TrainingPlan
    from labelcast.torch.data.position import Position
    from labelcast.torch.decoding import TorchDecoder, load_decoder
    from labelcast.torch.images.batch import Batch
    from labelcast.torch.images.compared import ComparedDataset, UncomparedImagesWarning
    from labelcast.torch.images.file_dataset import FileDataset
    from labelcast.torch.images.image_folder import ImageFolder
    from labelcast.torch.images.render_seeded import ViewRenderer
    from labelcast.torch.images.rendering import RecordedRenderer, choose_renderer
    from labelcast.torch.images.sample_dataset import SampleDataset
    from labelcast.torch.images.samples import ImageReader, SampleTable
    from labelcast.torch.images.soft_label_loader import SoftLabelLoader
    from labelcast.torch.losses import (
        Loss,
        cosine_loss,
        distillation_loss,
        mixed_hard_loss,
        mse_hard_loss,
        soft_cross_entropy,
        soft_label_loss,
    )
    from labelcast.torch.sources import ArrayLabels, LabelSetSource, LabelSource
    from labelcast.torch.tokens.data.batch import TokenBatch
    from labelcast.torch.tokens.data.sequences import TokenSequences
    from labelcast.torch.tokens.data.student_side import UncomparedTokensWarning
    from labelcast.torch.tokens.data.token_loader import TokenLoader
    from labelcast.torch.tokens.divergences import TokenLoss
    from labelcast.torch.tokens.heads.model_head import model_head
    from labelcast.torch.tokens.heads.student_head import StudentHead
    from labelcast.torch.tokens.heads.teacher_head import TeacherHead
    from labelcast.torch.tokens.hugging_face import LabelcastTrainer
    from labelcast.torch.tokens.losses import token_loss, token_loss_of_states
    from labelcast.torch.tokens.readout import TokenReadout
    from labelcast.torch.tokens.sparse_rows import SparseRows
    from labelcast.torch.tokens.teachers import DenseLabels, NamedLabels, StateLabels

__all__ = [
    "ArrayLabels",
    "Batch",
    "CodedLabels",
    "ComparedDataset",
    "DenseLabels",
    "FileDataset",
    "ImageFolder",
    "ImageReader",
    "LabelSetSource",
    "LabelSource",
    "LabelcastTrainer",
    "Loss",
    "NamedLabels",
    "PlannedBatch",
    "Position",
    "RecordedRenderer",
    "SampleDataset",
    "SampleTable",
    "SoftLabelLoader",
    "SparseRows",
    "StateLabels",
    "StudentHead",
    "TeacherHead",
    "TokenBatch",
    "TokenLoader",
    "TokenLoss",
    "TokenReadout",
    "TokenSequences",
    "TorchDecoder",
    "TrainingPlan",
    "UncomparedImagesWarning",
    "UncomparedTokensWarning",
    "ViewRenderer",
    "choose_renderer",
    "coded_label_loss",
    "cosine_loss",
    "distillation_loss",
    "load_decoder",
    "mixed_hard_loss",
    "model_head",
    "mse_hard_loss",
    "soft_cross_entropy",
    "soft_label_loss",
    "token_loss",
    "token_loss_of_states",
]

# Imported on first use: decoding on a device needs no grpc, which the loader's sources do.
_HOMES = {
    "DenseLabels": "labelcast.torch.tokens.teachers",
    "NamedLabels": "labelcast.torch.tokens.teachers",
    "StateLabels": "labelcast.torch.tokens.teachers",
    "SparseRows": "labelcast.torch.tokens.sparse_rows",
    "StudentHead": "labelcast.torch.tokens.heads.student_head",
    "TeacherHead": "labelcast.torch.tokens.heads.teacher_head",
    "TokenLoss": "labelcast.torch.tokens.divergences",
    "TokenReadout": "labelcast.torch.tokens.readout",
    "token_loss": "labelcast.torch.tokens.losses",
    "token_loss_of_states": "labelcast.torch.tokens.losses",
    "ArrayLabels": "labelcast.torch.sources",
    "Batch": "labelcast.torch.images.batch",
    "CodedLabels": "labelcast.torch.coded_labels",
    "ComparedDataset": "labelcast.torch.images.compared",
    "FileDataset": "labelcast.torch.images.file_dataset",
    "ImageFolder": "labelcast.torch.images.image_folder",
    "ImageReader": "labelcast.torch.images.samples",
    "LabelSource": "labelcast.torch.sources",
    "LabelcastTrainer": "labelcast.torch.tokens.hugging_face",
    "Loss": "labelcast.torch.losses",
    "PlannedBatch": "labelcast.torch.data.plan",
    "Position": "labelcast.torch.data.position",
    "RecordedRenderer": "labelcast.torch.images.rendering",
    "SampleDataset": "labelcast.torch.images.sample_dataset",
    "SampleTable": "labelcast.torch.images.samples",
    "LabelSetSource": "labelcast.torch.sources",
    "SoftLabelLoader": "labelcast.torch.images.soft_label_loader",
    "TokenBatch": "labelcast.torch.tokens.data.batch",
    "TokenLoader": "labelcast.torch.tokens.data.token_loader",
    "TokenSequences": "labelcast.torch.tokens.data.sequences",
    "TorchDecoder": "labelcast.torch.decoding",
    "TrainingPlan": "labelcast.torch.data.plan",
    "UncomparedImagesWarning": "labelcast.torch.images.compared",
    "UncomparedTokensWarning": "labelcast.torch.tokens.data.student_side",
    "ViewRenderer": "labelcast.torch.images.render_seeded",
    "choose_renderer": "labelcast.torch.images.rendering",
    "coded_label_loss": "labelcast.torch.code_loss",
    "cosine_loss": "labelcast.torch.losses",
    "distillation_loss": "labelcast.torch.losses",
    "load_decoder": "labelcast.torch.decoding",
    "mixed_hard_loss": "labelcast.torch.losses",
    "model_head": "labelcast.torch.tokens.heads.model_head",
    "mse_hard_loss": "labelcast.torch.losses",
    "soft_cross_entropy": "labelcast.torch.losses",
    "soft_label_loss": "labelcast.torch.losses",
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
