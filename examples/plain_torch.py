"""Train a student on soft labels in a loop of plain torch.

python examples/plain_torch.py --address 127.0.0.1:7070 --tag mine:v1 --images DIR
"""

import argparse
from pathlib import Path

import torch

import labelcast
from labelcast import Expectation, Representation
from labelcast.torch import ImageFolder, LabelSetSource, SoftLabelLoader, soft_label_loss
from labelcast_glyphs.networks import student_network


def main() -> None:
    """Train, and say how well the student knows the images that it has learned from."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", required=True)
    parser.add_argument("--tag", required=True)
    parser.add_argument("--images", type=Path, required=True, help="class directories of images")
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()

    images = ImageFolder(options.images, channels=1)
    # Refused here and now if it was made for another temperature.
    expected = Expectation(temperature=1.0)
    label_set = labelcast.open(options.tag, address=options.address, expect=expected)
    labels = LabelSetSource(label_set, Representation.codes())
    student = student_network(len(images.class_names))
    optimizer = torch.optim.AdamW(student.parameters(), lr=2e-3)
    for batch in SoftLabelLoader(images, labels, seeds=range(options.epochs), batch_size=64):
        logits = student(batch.images)
        loss = soft_label_loss(logits, batch.labels, labels.label_kind, temperature=1.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    student.eval()
    pairs = [images[number] for number in range(len(images))]
    guessed = student(torch.stack([image for image, _ in pairs])).argmax(dim=1)
    right = (guessed == torch.tensor([hard for _, hard in pairs])).float().mean()
    print(f"{right:.0%} of the whole images are known")


if __name__ == "__main__":
    main()
