# SPDX-License-Identifier: Apache-2.0
"""Float against int8 accuracy of eight architectures of the zoo, trained on handwritten digits.

    python examples/accuracy_table.py FOLDER [NAME...] [--epochs N]

scikit-learn's 1,797 digits of 8x8 pixels are enlarged to what each network takes; one in five is
held back. Each network is trained, saved, quantized on 200 training digits and deployed on the
STM32F469: the firmware is built and run on the emulator, where it must equal the reference in
every byte of every operator. The int8 accuracy is that of the deployed model on the digits held
back. The table is printed as Markdown, a row as soon as it is known, and kept in
FOLDER/accuracy.md; an interrupted run goes on with the first row that FOLDER does not have.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import mcudeploy
from mcudeploy import zoo

BATCH = 32
BOARD = "stm32f469"


@dataclass(frozen=True)
class Row:
    """A network of the table: `side` pixels of a square image, or rows of `side` pixels."""

    title: str
    name: str
    side: int
    options: dict[str, Any] = field(default_factory=dict)
    sequence: bool = False
    rate: float = 3e-3
    clip: float | None = None
    """Largest norm of a gradient, where no batch norm tames it."""
    fresh: bool = False
    """Training begins, slowly, with Keras's own weights; else with the zoo's, made for int8."""
    classifier_bias: float = 0.0
    """What the biases of the last convolution begin with; a ReLU behind it starts alive with 1."""


_IMAGE = {"channels": 1, "classes": 10}
ROWS = (
    Row("LeNet-5", "lenet5", 32, {"output": "softmax"}, fresh=True),
    Row("MobileNetV1 0.25", "mobilenet_v1", 32,
        {**_IMAGE, "width": 0.25, "resolution": 32}, fresh=True),
    Row("MobileNetV2 0.35", "mobilenet_v2", 32,
        {**_IMAGE, "width": 0.35, "resolution": 32}, fresh=True),
    Row("SqueezeNet 1.1, simple bypass", "squeezenet", 48,
        {**_IMAGE, "version": "1.1", "bypass": "simple", "resolution": 48},
        rate=1e-3, clip=1.0, fresh=True, classifier_bias=1.0),
    Row("ShuffleNet 0.25 g=3", "shufflenet", 32,
        {**_IMAGE, "groups": 3, "width": 0.25, "resolution": 32}),
    Row("MobileNetV3-Small 0.35", "mobilenet_v3_small", 32,
        {**_IMAGE, "width": 0.35, "resolution": 32}),
    Row("LSTM, 16 units", "lstm", 16, {"steps": 16, "features": 16, "units": 16}, sequence=True),
    Row("Transformer, 1 block", "transformer", 16,
        {"steps": 16, "features": 16, "units": 16}, sequence=True),
)  # fmt: skip


def digits(row: Row) -> tuple[np.ndarray, np.ndarray]:
    """All digits enlarged to `side` pixels, 0..1, (n, side, side[, 1]), and their classes."""
    data = load_digits()
    factor = row.side // 8
    images = data.images.repeat(factor, axis=1).repeat(factor, axis=2) / 16
    x = images if row.sequence else images[..., np.newaxis]
    return x.astype(np.float32), data.target.astype(np.int64)


def train(row: Row, folder: Path, epochs: int) -> None:
    """Write model.keras, digits.npz (held back) and calibration.npz into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    x, y = digits(row)
    x_train, x_test, y_train, y_test = train_test_split(
        x, y, test_size=0.2, random_state=0, stratify=y
    )
    model = zoo.keras_model(row.name, **row.options)
    if row.fresh:
        model = keras.models.clone_model(model)
    if row.classifier_bias:
        last = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)][-1]
        last.bias.assign(np.full(last.bias.shape, row.classifier_bias))
    an_epoch = -(-len(x_train) // BATCH)
    warm = min(2, epochs // 2) * an_epoch if row.fresh else 0
    rate = keras.optimizers.schedules.CosineDecay(
        row.rate / 10 if warm else row.rate, epochs * an_epoch - warm,
        warmup_target=row.rate if warm else None, warmup_steps=warm,
    )  # fmt: skip
    # Batch statistics must settle within an epoch or two: there are 45 steps in one.
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9
    optimizer = keras.optimizers.Adam(rate, clipnorm=row.clip)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    model.fit(x_train, y_train, batch_size=BATCH, epochs=epochs, verbose=0)
    np.savez(folder / "digits.npz", x=x_test, y=y_test)
    np.savez(folder / "calibration.npz", x=x_train[:200])
    model.save(folder / "model.keras")


def table_row(row: Row, folder: Path, epochs: int) -> str:
    """Train and deploy a network and put its figures in a row of the table, once."""
    kept = folder / "row.md"
    if not kept.is_file():
        train(row, folder, epochs)
        kept.write_text(deployed_row(row, folder), encoding="utf-8")
    return kept.read_text(encoding="utf-8")


def deployed_row(row: Row, folder: Path) -> str:
    """Deploy a trained network; its figures."""
    done = mcudeploy.deploy(
        folder / "model.keras", BOARD, folder / "firmware",
        calibration=folder / "calibration.npz", evaluate=folder / "digits.npz",
    )  # fmt: skip
    report, found = done.project.deployment.report, done.project.deployment.evaluation
    assert found is not None
    exact = "yes" if done.passed else "NO"
    ram = sum(region.used_bytes for region in report.regions if region.kind == "ram")
    first, second = found.float_accuracy or 0.0, found.int8_accuracy or 0.0
    return (
        f"| {row.title} | {row.side}x{row.side} | {report.parameters:,} | {report.macs:,} "
        f"| {ram / 1024:.1f} | {first:.2%} | {second:.2%} | {second - first:+.2%} | {exact} |"
    )


HEAD = (
    "| network | input | parameters | MACs | RAM KiB | float | int8 deployed | change "
    "| firmware bit-exact |\n|---|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    """Train and deploy what is asked for; print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="of the zoo; all eight without")
    parser.add_argument("--epochs", type=int, default=20)
    asked = parser.parse_args()
    lines = [HEAD]
    print(HEAD, flush=True)
    for row in ROWS:
        if asked.names and row.name not in asked.names:
            continue
        lines.append(table_row(row, asked.folder / row.name, asked.epochs))
        print(lines[-1], flush=True)
    (asked.folder / "accuracy.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
