"""Public names are a promise: changing one is a breaking change, and this file says so."""

import labelcast
import labelcast.torch


def test_public_names_of_labelcast() -> None:
    assert labelcast.__all__ == [
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
        "Tls",
        "Views",
        "open",
    ]


def test_public_names_of_labelcast_torch() -> None:
    assert labelcast.torch.__all__ == [
        "ArrayLabels",
        "Batch",
        "CodedLabels",
        "ComparedDataset",
        "FileDataset",
        "ImageFolder",
        "ImageReader",
        "LabelSetSource",
        "LabelSource",
        "Loss",
        "PlannedBatch",
        "Position",
        "RecordedRenderer",
        "SampleDataset",
        "SampleTable",
        "SoftLabelLoader",
        "TorchDecoder",
        "TrainingPlan",
        "UncomparedImagesWarning",
        "ViewRenderer",
        "choose_renderer",
        "coded_label_loss",
        "cosine_loss",
        "distillation_loss",
        "load_decoder",
        "mixed_hard_loss",
        "mse_hard_loss",
        "soft_cross_entropy",
        "soft_label_loss",
    ]
