"""Train a student with Lightning, stop in mid-epoch, and go on from its checkpoint.

python examples/lightning_trainer.py 127.0.0.1:7070 mine:v1 images/ run/
"""

import sys
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

import labelcast
from labelcast import Expectation, Representation
from labelcast.torch import Batch, ImageFolder, LabelSetSource, SoftLabelLoader, soft_label_loss
from labelcast_glyphs.networks import student_network

EPOCHS = 8
QUIET: Any = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}


class Student(LightningModule):
    """Learns soft labels, and counts beside its weights how often it has seen each view."""

    def __init__(self, images: ImageFolder, labels: LabelSetSource) -> None:
        super().__init__()
        self.network, self.labels = student_network(len(images.class_names)), labels
        self.register_buffer("seen", torch.zeros(EPOCHS, len(images), dtype=torch.int64))

    def training_step(self, batch: Batch, _: int) -> Tensor:
        self.seen[batch.epoch, batch.views.sample_ids.astype(int)] += 1
        return soft_label_loss(self.network(batch.images), batch.labels, self.labels.label_kind)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=2e-3)


def main(address: str, tag: str, image_directory: str, out: str) -> None:
    images, expected = ImageFolder(image_directory, channels=1), Expectation(temperature=1.0)
    label_set = labelcast.open(tag, address=address, expect=expected)
    labels = LabelSetSource(label_set, Representation.codes())
    student = Student(images, labels)
    for stop, checkpoint in (8, None), (-1, f"{out}/step=7.ckpt"):
        student = Student(images, labels)
        loader = SoftLabelLoader(images, labels, seeds=range(EPOCHS), batch_size=64)
        loader.set_epoch(0)  # so that Lightning counts the batches of one epoch; it sets the others
        saving = ModelCheckpoint(out, "{step}", every_n_train_steps=7, save_top_k=-1)
        run: Any = {"max_epochs": EPOCHS, "max_steps": stop, "accelerator": "cpu"}
        Trainer(callbacks=[saving], **run, **QUIET).fit(student, loader, ckpt_path=checkpoint)
    seen = student.seen
    print(f"{int(seen.sum())} views, {int((seen == 1).sum())} of {seen.numel()} exactly once")


if __name__ == "__main__":
    main(*sys.argv[1:])
