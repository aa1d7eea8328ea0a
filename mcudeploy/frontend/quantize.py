# SPDX-License-Identifier: Apache-2.0
"""Keras to int8: `quantize` turns a Keras model or a SavedModel into an int8 .tflite.

Weights become int8 per output channel, activations int8 per tensor, inputs and outputs int8; the
ranges of activations come from calibration samples (or from the model, when it was trained
quantization-aware). The batch is fixed to 1. All of it happens in one child process (see
`tf_process`), where `tf_worker` and its neighbours do the work. Nothing is cached. The same
inputs give the same bytes with the same version of TensorFlow on the same kind of machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mcudeploy.errors import InputError
from mcudeploy.frontend.calibration import (
    DEFAULT_SAMPLES,
    CalibrationRecord,
    ModelInput,
    Scaling,
    check_scaling,
    check_source,
)
from mcudeploy.frontend.evaluate import Evaluation
from mcudeploy.frontend.evaluate import evaluate as judge
from mcudeploy.frontend.keras import ModelKind, detect
from mcudeploy.frontend.tf_process import DEFAULT_TIMEOUT_SECONDS, Progress, run_worker


@dataclass(frozen=True)
class QuantizedModel:
    """An int8 .tflite and where it comes from.

    `inputs` are the Keras model's, `notes` what was done to the model that a user should know,
    `warnings` what may spoil the result. `evaluation` is there when it was asked for, and with it
    `float_tflite`, the same graph without quantization.
    """

    tflite: bytes
    kind: ModelKind
    inputs: tuple[ModelInput, ...]
    calibration: CalibrationRecord
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    evaluation: Evaluation | None = None
    float_tflite: bytes | None = None


def quantize(
    model: Path | str,
    calibration: Path | str | None = None,
    *,
    synthetic: bool = False,
    scaling: Scaling | None = None,
    samples: int = DEFAULT_SAMPLES,
    evaluate: Path | str | None = None,
    progress: Progress | None = None,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
) -> QuantizedModel:
    """Quantize the Keras model or SavedModel at `model` to int8.

    `calibration` is an .npz, an .npy or a folder of images (see `calibration`); without it the
    model must be quantization-aware trained, or `synthetic` must allow seeded random samples: the
    sizes hold, the accuracy is unknown. `scaling` is for pixels. `evaluate` is an .npz of x and y
    to judge the result with (see `evaluate`), without starting TensorFlow again. Raises
    InputError for unusable files and for activations that vanish (with synthetic samples, for
    which an untrained network will do, a warning), UnsupportedModelError for what cannot be
    converted (naming the layer), ToolError when TensorFlow is missing or fails.
    """
    path = Path(model)
    kind = detect(path)
    if not kind.needs_tensorflow:
        raise InputError(
            "this is a .tflite already: there is nothing left to quantize",
            where=str(path),
            mend="use it as it is, or quantize the Keras model it was made from",
        )
    check_scaling(scaling)
    for source in (calibration, evaluate):
        if source is not None:
            check_source(source)
    request = {
        "task": "quantize",
        "model": str(path.resolve()),
        "name": str(path),
        "kind": str(kind),
        "calibration": str(Path(calibration).resolve()) if calibration is not None else None,
        "synthetic": synthetic,
        "scaling": scaling,
        "samples": samples,
        "float": evaluate is not None,
    }
    result = run_worker(request, progress=progress, timeout_seconds=timeout_seconds)
    quantized = _read(kind, result.values, result.files)
    if evaluate is None:
        return quantized
    evaluation = judge(
        quantized.tflite,
        evaluate,
        float_tflite=result.files["float.tflite"],
        inputs=quantized.inputs,
        scaling=scaling or ("0..1" if quantized.calibration.kind == "images" else None),
        progress=progress,
    )
    return replace(quantized, evaluation=evaluation, float_tflite=result.files["float.tflite"])


def _read(kind: ModelKind, values: Mapping[str, Any], files: Mapping[str, bytes]) -> QuantizedModel:
    return QuantizedModel(
        tflite=files["model.tflite"],
        kind=kind,
        inputs=tuple(
            ModelInput(spec["name"], tuple(spec["shape"]), spec["dtype"])
            for spec in values["inputs"]
        ),
        calibration=CalibrationRecord(**values["calibration"]),
        notes=tuple(values["notes"]),
        warnings=tuple(values["warnings"]),
    )
