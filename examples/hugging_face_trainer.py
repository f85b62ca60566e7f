"""Train a small ViT on images with the Trainer of Hugging Face; nothing is fetched from its hub.

HF_HUB_OFFLINE=1 python examples/hugging_face_trainer.py 127.0.0.1:7070 mine:v1 images/ run/
"""

import sys
from collections.abc import Iterator
from typing import Any

from torch import Tensor
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification

import labelcast
from labelcast import Expectation, Representation
from labelcast.torch import ImageFolder, LabelSetSource, SoftLabelLoader, soft_label_loss

EPOCHS = 8


class Batches:
    """A loader's batches under the names that models of transformers have for them."""

    def __init__(self, loader: SoftLabelLoader) -> None:
        self.loader, self.set_epoch = loader, loader.set_epoch

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for batch in self.loader:
            yield {"pixel_values": batch.images, "labels": batch.labels}


class SoftLabelTrainer(Trainer):
    def get_train_dataloader(self) -> Batches:  # the Trainer's own would shuffle anew
        return self.train_dataset


def main(address: str, tag: str, image_directory: str, out: str) -> None:
    images, expected = ImageFolder(image_directory, channels=1), Expectation(temperature=1.0)
    label_set = labelcast.open(tag, address=address, expect=expected)
    labels = LabelSetSource(label_set, Representation.codes())
    loader = SoftLabelLoader(images, labels, seeds=range(EPOCHS), batch_size=64)
    loader.set_epoch(0)  # so that the Trainer counts the batches of one epoch; it sets the others

    def loss(outputs: Any, soft: Tensor, **_: Any) -> Tensor:
        return soft_label_loss(outputs.logits, soft, labels.label_kind)

    sizes: Any = {"image_size": 32, "patch_size": 8, "num_channels": 1, "hidden_size": 48}
    sizes |= {"num_hidden_layers": 2, "num_labels": len(images.class_names)}
    run: Any = {"use_cpu": True, "report_to": "none", "save_strategy": "no", "learning_rate": 2e-3}
    arguments = TrainingArguments(out, num_train_epochs=EPOCHS, disable_tqdm=True, **run)
    given: Any = {"train_dataset": Batches(loader), "compute_loss_func": loss, "args": arguments}
    found = SoftLabelTrainer(ViTForImageClassification(ViTConfig(**sizes)), **given).train()
    print(f"{found.global_step} steps, a loss of {found.training_loss:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
