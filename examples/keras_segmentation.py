"""Train a small U-Net with Keras on a published dataset.

KERAS_BACKEND=jax python examples/keras_segmentation.py sample-dataset --steps 60
"""

import argparse
import math

import keras
import numpy as np
from bigearthnet_reader import BigEarthNet
from keras import layers, ops


class Batches(keras.utils.PyDataset):
    """Batches in a new order each epoch; weights of pixels are those of their classes, 0 where ignored."""

    def __init__(self, dataset: BigEarthNet, batch: int, workers: int) -> None:
        super().__init__(workers=workers, use_multiprocessing=False)
        self._dataset, self._batch = dataset, batch
        self._weights = np.zeros(256, np.float32)
        # The root of the inverse frequencies: rare classes count for more, but not a thousand times.
        self._weights[: len(dataset.class_names)] = np.sqrt(dataset.class_weights())
        self._random = np.random.default_rng(0)
        self.on_epoch_end()

    def __len__(self) -> int:
        return math.ceil(len(self._dataset) / self._batch)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        chosen = self._order[index * self._batch : (index + 1) * self._batch]
        images, masks = (np.stack(part) for part in zip(*(self._dataset[i] for i in chosen), strict=True))
        normalized = (images - self._dataset.mean) / self._dataset.std
        weights = self._weights[masks]
        return normalized, np.where(masks == self._dataset.ignore_index, 0, masks), weights

    def on_epoch_end(self) -> None:
        self._order = self._random.permutation(len(self._dataset))


def unet(classes: int, width: int = 16) -> keras.Model:
    """Two steps down, two steps up."""

    def block(x: keras.KerasTensor, channels: int) -> keras.KerasTensor:
        x = layers.Conv2D(channels, 3, padding="same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

    image = layers.Input((120, 120, 3))
    skipped = [block(image, width)]
    for channels in (2 * width, 4 * width):
        skipped.append(block(layers.MaxPooling2D()(skipped[-1]), channels))
    x = skipped.pop()
    for skip in reversed(skipped):
        x = block(layers.Concatenate()([layers.UpSampling2D()(x), skip]), skip.shape[-1])
    return keras.Model(image, layers.Conv2D(classes, 1, activation="softmax")(x))


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
    keras.utils.set_random_seed(0)
    train, test = BigEarthNet(options.root, "train"), BigEarthNet(options.root, "test")
    classes = len(train.class_names)
    model = unet(classes)
    model.compile(keras.optimizers.AdamW(3e-3), "sparse_categorical_crossentropy")
    batches = Batches(train, options.batch, options.workers)
    epochs = math.ceil(options.steps / len(batches))
    losses = model.fit(batches, epochs=epochs, verbose=0).history["loss"]
    for epoch in sorted({1, *range(5, epochs, 5), epochs}):
        print(f"step {epoch * len(batches)}: loss {losses[epoch - 1]:.3f}")

    confusion = np.zeros((classes, classes), np.int64)
    for image, mask in (test[i] for i in range(len(test))):
        normalized = (image - train.mean) / train.std
        found = ops.convert_to_numpy(model(normalized[np.newaxis], training=False)).argmax(axis=-1)[0]
        pairs = mask.astype(np.int64)[mask != test.ignore_index] * classes + found[mask != test.ignore_index]
        confusion += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    constant = np.zeros_like(confusion)
    constant[:, confusion.sum(axis=1).argmax()] = confusion.sum(axis=1)
    print(f"test mIoU {mean_iou(confusion):.3f}; the best constant guess {mean_iou(constant):.3f}")


if __name__ == "__main__":
    main()
