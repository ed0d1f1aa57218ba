"""Train a small U-Net with PyTorch on a published dataset; with the sample, in a minute on a CPU.

python examples/torch_segmentation.py sample-dataset --steps 60
"""

import argparse

import numpy as np
import torch
from bigearthnet_reader import BigEarthNet
from torch import nn
from torch.utils.data import DataLoader


class UNet(nn.Module):
    """Two steps down, two steps up."""

    def __init__(self, classes: int, width: int = 16) -> None:
        super().__init__()
        self.down = nn.ModuleList([block(3, width), block(width, 2 * width), block(2 * width, 4 * width)])
        self.up = nn.ModuleList([block(6 * width, 2 * width), block(3 * width, width)])
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skipped = []
        for stage in self.down:
            x = stage(nn.functional.max_pool2d(x, 2) if skipped else x)
            skipped.append(x)
        for stage, skip in zip(self.up, skipped[-2::-1], strict=True):
            x = stage(torch.cat([nn.functional.interpolate(x, scale_factor=2.0), skip], dim=1))
        return self.head(x)


def block(before: int, after: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU())


def mean_iou(confusion: np.ndarray) -> float:
    """Mean intersection over union of the classes that occur in the masks."""
    occurs, hits = confusion.sum(axis=1) > 0, np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hits
    return float((hits[occurs] / union[occurs]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", help="folder, s3:// URL, or file of links of a published dataset")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    torch.manual_seed(0)

    def to_tensors(image: np.ndarray, mask: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        normalized = (image - train.mean) / train.std
        return torch.from_numpy(normalized.transpose(2, 0, 1)), torch.from_numpy(mask.astype(np.int64))

    train = BigEarthNet(options.root, "train", transform=to_tensors)
    test = BigEarthNet(options.root, "test", transform=to_tensors)
    classes, ignored = len(train.class_names), train.ignore_index
    model = UNet(classes)
    # The root of the inverse frequencies: rare classes count for more, but not a thousand times.
    weights = torch.from_numpy(np.sqrt(train.class_weights()))
    loss_of = nn.CrossEntropyLoss(weight=weights, ignore_index=ignored)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    loader = DataLoader(
        train,
        options.batch,
        shuffle=True,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
    )
    step = 0
    while step < options.steps:
        for images, masks in loader:
            loss = loss_of(model(images), masks)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step == 1 or step % 10 == 0:
                print(f"step {step}: loss {loss.item():.3f}", flush=True)
            if step == options.steps:
                break

    model.eval()
    confusion = np.zeros((classes, classes), np.int64)
    with torch.no_grad():
        for images, masks in DataLoader(test, options.batch):
            labelled = masks != ignored
            pairs = masks[labelled] * classes + model(images).argmax(dim=1)[labelled]
            confusion += np.bincount(pairs.numpy(), minlength=classes**2).reshape(classes, classes)
    constant = np.zeros_like(confusion)
    constant[:, confusion.sum(axis=1).argmax()] = confusion.sum(axis=1)
    print(f"test mIoU {mean_iou(confusion):.3f}; the best constant guess {mean_iou(constant):.3f}")


if __name__ == "__main__":
    main()
