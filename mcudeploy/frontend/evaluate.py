# SPDX-License-Identifier: Apache-2.0
"""What quantization cost: float against int8 on labelled samples, and operator by operator.

The data is an .npz with `x` (or one array per input, named as it) and, for an accuracy, `y`:
class indices of shape (samples,) or (samples, 1), or one-hot rows of the output's shape. Without
`y`, or with other values of the output's shape, only errors of the outputs are given.

The float network is the same graph converted without quantization, run by LiteRT. The int8
network is run by the golden reference (TensorFlow Lite Micro's kernels, which the firmware equals
to the byte), or by LiteRT's reference kernels where that does not exist. The error of an operator
compares its dequantized output with the float network's tensor of the same name, over a few
samples; errors add up along the network, so `added_error` (what exceeds the largest error among
its inputs) tells who caused it.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mcudeploy.errors import InputError, UnsupportedModelError
from mcudeploy.frontend.calibration import (
    ModelInput,
    Samples,
    Scaling,
    check_lengths,
    check_scaling,
    check_source,
    evenly_spaced,
    pick_array,
    read_arrays,
    scale_array,
)
from mcudeploy.frontend.reference import Reference, golden_unavailable
from mcudeploy.frontend.tf_process import Progress
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.graph.ir import Graph, Tensor

Array = npt.NDArray[Any]

MAX_SAMPLES = 1000
"""More labelled samples than this are thinned out evenly."""

_OPERATOR_SAMPLES = 32
_LABELS = ("y", "y_test")


@dataclass(frozen=True)
class OperatorError:
    """How far an operator's int8 output is from the float network's.

    `index` is the operator's in the .tflite. `relative_error` is the root mean square of the
    difference over that of the float values (0.01 is 1 %), `added_error` the part that its inputs
    did not have, `rms_steps` and `max_steps` the difference in quantization steps (LSB).
    """

    index: int
    kind: str
    name: str
    relative_error: float
    added_error: float
    rms_steps: float
    max_steps: float


@dataclass(frozen=True)
class Evaluation:
    """Float against int8 over `samples` samples.

    Accuracies and `agreement` (the share of samples to which both give the same class) are 0 to
    1, None when the data has no class labels. `output_error` is the relative root-mean-square
    difference of the first output, None without the float network, as all that needs it.
    `reference` says who ran the int8 network. `operators` are in order of execution;
    `unmatched_operators` have no tensor of their name in the float network.
    """

    source: str
    sha256: str
    samples: int
    reference: str
    float_accuracy: float | None = None
    int8_accuracy: float | None = None
    agreement: float | None = None
    output_error: float | None = None
    operator_samples: int = 0
    operators: tuple[OperatorError, ...] = ()
    unmatched_operators: int = 0
    notes: tuple[str, ...] = ()

    def costliest(self, count: int = 5) -> tuple[OperatorError, ...]:
        """The operators that add most error, the worst first."""
        ranked = sorted(self.operators, key=lambda operator: -operator.added_error)
        return tuple(ranked[:count])

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)


def evaluate(
    tflite: bytes,
    data: Path | str,
    *,
    float_tflite: bytes | None = None,
    inputs: Sequence[ModelInput] | None = None,
    scaling: Scaling | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Judge the int8 network `tflite` on `data`, against `float_tflite` when that is given.

    `inputs` are the names, shapes and types that `data` is checked against (by default those of
    the .tflite, float for a quantized input); `scaling` applies to uint8 samples. Raises
    InputError when the data does not suit, ToolError when an interpreter fails.
    """
    check_scaling(scaling)
    path = check_source(data)
    graph = read_tflite(tflite, "the int8 network")
    specs = list(inputs) if inputs is not None else [_spec(graph.tensor(i)) for i in graph.inputs]
    samples, labels, available = _read(path, specs, scaling)
    golden = golden_unavailable() is None
    exact_graph = None
    if float_tflite is not None:
        exact_graph = read_tflite(float_tflite, "the float network", deployable=False)
    run = _Run(graph, exact_graph)
    with ExitStack() as stack:
        quantized = stack.enter_context(Reference(tflite, "golden" if golden else "desktop"))
        exact = stack.enter_context(Reference(float_tflite, "desktop")) if float_tflite else None
        total = len(next(iter(samples.values())))
        for position in range(total):
            values = [samples[spec.name][position : position + 1] for spec in specs]
            run.step(quantized, exact, values)
            step = max(1, total // 10)
            if progress and ((position + 1) % step == 0 or position + 1 == total):
                progress(f"evaluating: sample {position + 1}/{total}")
    return run.result(path, labels, available, golden=golden)


def _spec(tensor: Tensor) -> ModelInput:
    name = re.sub(r"^serving_default_|:\d+$", "", tensor.name)
    quantized = tensor.quantization is not None
    sample = tensor.shape[1:] if tensor.shape[:1] == (1,) else tensor.shape
    return ModelInput(name, sample, "float32" if quantized else tensor.dtype)


def _read(
    path: Path, specs: Sequence[ModelInput], scaling: Scaling | None
) -> tuple[Samples, Array | None, int]:
    """The samples by input, their labels when there are any, and how many there were."""
    if path.suffix.lower() != ".npz":
        raise InputError(
            "evaluation needs an .npz: samples under x and labels under y",
            where=str(path),
            mend="numpy.savez(PATH, x=samples, y=labels)",
        )
    arrays = read_arrays(path)
    key = next((key for key in _LABELS if key in arrays), None)
    labels = arrays.pop(key) if key else None
    if len(specs) == 1 and specs[0].name not in arrays and "x" not in arrays:
        arrays = {"x" if key == "x_test" else key: array for key, array in arrays.items()}
    chosen = {spec.name: pick_array(arrays, spec, specs, path) for spec in specs}
    available = check_lengths(chosen, path)
    if labels is not None and (labels.ndim == 0 or len(labels) != available):
        count = len(labels) if labels.ndim else 1
        raise InputError(
            f"there are {available} samples but {count} labels", where=f"{path}, array {key!r}"
        )
    picks = evenly_spaced(available, MAX_SAMPLES)
    samples: Samples = {}
    for spec in specs:
        array = chosen[spec.name][picks]
        pixels = scaling if array.dtype == np.uint8 else None
        samples[spec.name] = scale_array(array, spec, pixels, path)
    return samples, labels[picks] if labels is not None else None, available


@dataclass
class _Sums:
    """Of one tensor over samples: squares of the difference and of the float values."""

    difference: float = 0.0
    signal: float = 0.0
    count: int = 0
    largest: float = 0.0

    def add(self, quantized: Array, exact: Array) -> None:
        gap = np.abs(quantized - exact)
        self.difference += float(np.square(gap).sum())
        self.signal += float(np.square(exact).sum())
        self.count += gap.size
        self.largest = max(self.largest, float(gap.max(initial=0)))

    @property
    def relative(self) -> float:
        return math.sqrt(self.difference / self.signal) if self.signal else 0.0


@dataclass
class _Run:
    """Both networks side by side, sample after sample."""

    graph: Graph
    exact_graph: Graph | None
    outputs: list[Array] = field(default_factory=list)
    exact_outputs: list[Array] = field(default_factory=list)
    sums: dict[int, _Sums] = field(default_factory=dict)
    fallbacks: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Pair the tensors of the two graphs by name (`source` is the index in the file)."""
        graph = self.graph
        computed = [i for operator in graph.operators for i in operator.outputs]
        wanted = [i for i in (*graph.inputs, *computed) if graph.tensor(i).dtype != "bool"]
        names: dict[str, int] = {}
        if self.exact_graph:
            exact = self.exact_graph
            written = [i for operator in exact.operators for i in operator.outputs]
            names = {exact.tensor(i).name: i for i in (*exact.inputs, *written)}
        self.pairs = {
            i: names[graph.tensor(i).name] for i in wanted if graph.tensor(i).name in names
        }
        if self.exact_graph:
            # Inputs and outputs correspond by their order, whatever they are called.
            self.pairs |= dict(zip(graph.inputs, exact.inputs, strict=True))
            self.pairs |= dict(zip(graph.outputs, exact.outputs, strict=True))

    def step(self, quantized: Reference, exact: Reference | None, values: list[Array]) -> None:
        traced = len(self.outputs) < _OPERATOR_SAMPLES and exact is not None
        pairs = self.pairs if traced else {}
        self.fallbacks |= set(quantized.fallbacks.values())
        stored = [
            quantize_array(value, self.graph.tensor(i))
            for value, i in zip(values, self.graph.inputs, strict=True)
        ]
        ours = quantized.infer(stored, tensors=list(pairs))
        first = self.graph.tensor(self.graph.outputs[0])
        self.outputs.append(dequantize_array(ours.outputs[0], first))
        if exact is None or self.exact_graph is None:
            return
        theirs = exact.infer(values, tensors=list(pairs.values()))
        self.exact_outputs.append(theirs.outputs[0].astype(np.float64))
        for index, other in pairs.items():
            mine = dequantize_array(ours.tensors[index], self.graph.tensor(index))
            its = theirs.tensors[other].astype(np.float64)
            if mine.shape == its.shape:
                self.sums.setdefault(index, _Sums()).add(mine, its)

    def operators(self) -> tuple[OperatorError, ...]:
        found = []
        for position, operator in enumerate(self.graph.operators):
            index = operator.outputs[0]
            sums = self.sums.get(index)
            if sums is None:
                continue
            tensor = self.graph.tensor(index)
            step = tensor.quantization.scale if tensor.quantization else 1.0
            before = max(
                (self.sums[i].relative for i in operator.inputs if i in self.sums), default=0.0
            )
            found.append(
                OperatorError(
                    index=operator.source if operator.source is not None else position,
                    kind=operator.kind,
                    name=tensor.name,
                    relative_error=sums.relative,
                    added_error=max(0.0, sums.relative - before),
                    rms_steps=math.sqrt(sums.difference / sums.count) / step,
                    max_steps=sums.largest / step,
                )
            )
        return tuple(found)

    def result(
        self, path: Path, labels: Array | None, available: int, *, golden: bool
    ) -> Evaluation:
        notes = []
        if len(self.outputs) < available:
            notes.append(f"{len(self.outputs)} of {available} samples were used, evenly spaced")
        if self.fallbacks:
            notes.append(f"computed by LiteRT, as TFLM lacks them: {', '.join(self.fallbacks)}")
        operators = self.operators()
        classes = _classes(labels, self.outputs[0].size, path)
        ours, theirs = _predictions(self.outputs), _predictions(self.exact_outputs)
        known = classes is not None
        compared = known and len(theirs) > 0
        final = self.sums.get(self.graph.outputs[0])
        return Evaluation(
            source=path.name,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            samples=len(self.outputs),
            reference="tflite-micro" if golden else "ai-edge-litert",
            float_accuracy=float(np.mean(theirs == classes)) if compared else None,
            int8_accuracy=float(np.mean(ours == classes)) if known else None,
            agreement=float(np.mean(ours == theirs)) if compared else None,
            output_error=final.relative if final else None,
            operator_samples=min(len(self.exact_outputs), _OPERATOR_SAMPLES),
            operators=operators,
            unmatched_operators=len(self.graph.operators) - len(operators)
            if self.exact_graph
            else 0,
            notes=tuple(notes),
        )


def _predictions(outputs: Sequence[Array]) -> Array:
    """The class of each output: the greatest value's, or for a single value whether it is > 0.5."""
    if not outputs:
        return np.empty(0, np.int64)
    flat = np.stack([output.reshape(-1) for output in outputs])
    return flat.argmax(axis=1) if flat.shape[1] > 1 else (flat[:, 0] > 0.5).astype(np.int64)


def _classes(labels: Array | None, outputs: int, path: Path) -> Array | None:
    """Class indices of labels that are indices or one-hot rows; None for other values."""
    if labels is None or labels.dtype.kind not in "fiub":
        return None
    if labels.ndim > 1 and labels.shape[1:] == (outputs,) and outputs > 1:
        one_hot = np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all()
        return labels.argmax(axis=1) if one_hot else None
    if labels.size != len(labels) or not np.array_equal(labels, np.trunc(labels)):
        return None
    classes = labels.reshape(-1).astype(np.int64)
    count = max(outputs, 2)
    if classes.min() < 0 or classes.max() >= count:
        raise InputError(
            f"the labels run from {classes.min()} to {classes.max()}, but the network tells "
            f"{count} classes apart",
            where=f"{path}, array 'y'",
            mend="count classes from 0",
        )
    return classes


def quantize_array(values: Array, tensor: Tensor) -> Array:
    """Real values as `tensor` stores them: rounded half away from zero, clamped."""
    if tensor.quantization is None or tensor.dtype not in ("int8", "uint8", "int16"):
        return values.astype(tensor.dtype)
    limits = np.iinfo(tensor.dtype)
    scaled = values.astype(np.float32) / np.float32(tensor.quantization.scale)
    rounded = np.sign(scaled) * np.floor(np.abs(scaled) + np.float32(0.5))
    stored: Array = rounded + tensor.quantization.zero_point
    clamped: Array = np.clip(stored, limits.min, limits.max).astype(tensor.dtype)
    return clamped


def dequantize_array(stored: Array, tensor: Tensor) -> Array:
    """What a stored array means, as float64."""
    if tensor.quantization is None:
        return stored.astype(np.float64)
    if tensor.quantization.per_channel:
        raise UnsupportedModelError("an activation is quantized per channel", where=tensor.name)
    shifted: Array = stored.astype(np.float64) - tensor.quantization.zero_point
    return shifted * tensor.quantization.scale
