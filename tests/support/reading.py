"""What worker processes of a test of the reader run: spawned ones import this module alone."""

from examples.bigearthnet_reader import BigEarthNet


def read_pixels(dataset: BigEarthNet, index: int) -> tuple[int, int]:
    """Sums of the pixels of an image and its mask."""
    image, mask = dataset[index]
    return int(image.sum()), int(mask.sum())
