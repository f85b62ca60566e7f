"""Train in a loop of your own that augments with another library, Kornia, on a set without mixing.

python examples/own_augmentation.py 127.0.0.1:7070 mine:unmixed images/

A label is of the view that the teacher saw. So the label set says how each view is cut and turned,
and Kornia makes just that: of what it would draw by itself the teacher has said nothing.
"""

import sys
from typing import Any

import numpy as np
import torch
from kornia.geometry.transform import warp_affine
from torch import Tensor

import labelcast
from labelcast import Plan
from labelcast.augmentation import FIXED_POINT, Records
from labelcast.torch import ComparedDataset, ImageFolder, ViewRenderer, coded_label_loss
from labelcast_glyphs.networks import student_network

EPOCHS, SIZE = 8, (32, 32)


def render(images: Tensor, made_by: Records) -> Tensor:
    """Crop and flip as drawn; this policy neither rotates nor mixes."""
    height, width, (rows, columns) = *images.shape[2:], SIZE
    to_source = np.tile(np.eye(3), (len(images), 1, 1))
    # Pixel centres: where a pixel of the view comes from, in pixels of the image.
    to_source[:, 0, 0] = across = made_by.crop_width / FIXED_POINT * width / columns
    to_source[:, 1, 1] = down = made_by.crop_height / FIXED_POINT * height / rows
    to_source[:, 0, 2] = made_by.crop_left / FIXED_POINT * width + across / 2 - 0.5
    to_source[:, 1, 2] = made_by.crop_top / FIXED_POINT * height + down / 2 - 0.5
    to_source[made_by.flip, 0, 2] += (columns - 1) * across[made_by.flip]
    to_source[made_by.flip, 0, 0] *= -1
    return warp_affine(images, torch.from_numpy(np.linalg.inv(to_source)[:, :2]).float(), SIZE)


def main(address: str, tag: str, image_directory: str) -> None:
    label_set: Any = labelcast.open(tag, address=address)
    images = ComparedDataset(ImageFolder(image_directory, channels=1), label_set.fingerprints())
    read, own = label_set.code_reader(), ViewRenderer(label_set.contract.policy, images.sample_ids)
    student, loss, furthest = student_network(len(images.class_names)), torch.zeros(()), 0.0
    optimizer = torch.optim.AdamW(student.parameters(), lr=2e-3)
    for views in Plan(images.sample_ids, seeds=range(EPOCHS)).batches(64):
        drawn = label_set.views(views.sample_ids, views.seeds)
        whole = torch.stack([images[int(position)][0] for position in views.sample_ids])
        seen = render(whole, drawn.made_by)
        furthest = max(furthest, float((seen - own.render(views, whole, None)).abs().max()))
        loss = coded_label_loss(student(seen), read(drawn), temperature=1.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"a loss of {loss:.2f}; no pixel is further than {furthest:.5f} from labelcast's own")


if __name__ == "__main__":
    main(*sys.argv[1:])
