# SPDX-License-Identifier: Apache-2.0
"""What the right bytes are: the golden reference, and the desktop interpreter beside it.

Golden is TensorFlow Lite Micro's reference kernels (the PyPI package `tflite-micro`, which exists
for Linux on x86-64 only); an operator that it lacks is computed by LiteRT's reference kernels,
and `Reference.fallbacks` names it. Both interpreters can abort their process, so each runs in a
child (`reference_worker.py`), which is kept for as many inferences as are wanted.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mcudeploy.errors import InputError, ToolError
from mcudeploy.frontend.reference_worker import receive, send
from mcudeploy.graph.ir import Graph
from mcudeploy.processes import ending_with_us

Array = npt.NDArray[Any]
Engine = Literal["golden", "desktop"]

_TIMEOUT_S = 600.0
_TAIL_LINES = 6
_NAMES = {"golden": "the golden reference", "desktop": "the desktop interpreter"}


@dataclass(frozen=True, eq=False)
class ReferenceInference:
    """One inference: the model's outputs, the tensors and the checksums that were asked for."""

    outputs: tuple[Array, ...]
    tensors: Mapping[int, Array]
    checksums: tuple[int, ...]


@dataclass(frozen=True)
class DesktopComparison:
    """How far the desktop interpreter is from golden over the same inferences.

    `largest_difference` is in LSB of an integer output (0: equal everywhere), `differing` counts
    inferences, `first_operator` is the index in the .tflite of the first operator whose output
    ever differs (None: none does). `refusal` says why there is no comparison.
    """

    largest_difference: int = 0
    differing: int = 0
    first_operator: int | None = None
    refusal: str = ""


@dataclass(frozen=True, eq=False)
class GoldenRun:
    """Every inference of a run; `fallbacks` as in `Reference`."""

    inferences: tuple[ReferenceInference, ...]
    fallbacks: Mapping[int, str]
    desktop: DesktopComparison | None = None


def golden_unavailable() -> str | None:
    """Why the golden reference cannot run on this machine; None when it can."""
    if not sys.platform.startswith("linux") or platform.machine() not in ("x86_64", "AMD64"):
        return (
            "the golden reference needs Linux on x86-64: the package tflite-micro has no other "
            f"build (this is {platform.system()} on {platform.machine()})"
        )
    from importlib.util import find_spec

    return None if find_spec("tflite_micro") else "the Python package tflite-micro is missing"


class Reference:
    """A model loaded in a child process; use it as a context manager.

    `fallbacks` maps the index of each operator that TFLM lacks, and that LiteRT computed in its
    stead, to its kind; empty on the desktop interpreter and nearly always.
    Raises ToolError when the interpreter is missing, refuses the model or dies.
    """

    def __init__(
        self, model: bytes, engine: Engine = "golden", *, timeout_s: float = _TIMEOUT_S
    ) -> None:
        reason = golden_unavailable() if engine == "golden" else None
        if reason is not None:
            raise ToolError(
                reason,
                mend="run this command on Linux x86-64; fit, generate and build work everywhere",
            )
        self.engine = engine
        self._timeout_s = timeout_s
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        worker = Path(__file__).with_name("reference_worker.py")
        # -P keeps this folder off the child's path: its module names are common ones.
        self._process = subprocess.Popen(
            ending_with_us([sys.executable, "-P", str(worker)]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        try:
            header, _ = self._ask({"do": "load", "engine": engine}, [model], "load the model")
        except BaseException:
            self.close()
            raise
        self.fallbacks: Mapping[int, str] = MappingProxyType(
            {int(index): kind for index, kind in header["lacking"].items()}
        )

    def infer(
        self,
        inputs: Sequence[Array],
        *,
        tensors: Sequence[int] = (),
        checksums: Sequence[Sequence[int]] = (),
        reset: bool = True,
    ) -> ReferenceInference:
        """Run one inference on arrays of the inputs' dtypes and sizes.

        `tensors` are indices in the .tflite (inputs and operators' outputs); each group of
        `checksums` gives one CRC-32 over the bytes of its tensors in turn. `reset` starts from
        the initial state; without it, state goes on from the inference before.
        """
        request = {
            "do": "infer",
            "reset": reset,
            "tensors": [int(i) for i in tensors],
            "checksums": [[int(i) for i in group] for group in checksums],
        }
        blobs = [np.ascontiguousarray(value).tobytes() for value in inputs]
        header, answers = self._ask(request, blobs, "run an inference")
        arrays = [
            np.frombuffer(blob, dtype).reshape(shape)
            for blob, (dtype, shape) in zip(answers, header["arrays"], strict=True)
        ]
        outputs = len(arrays) - len(tensors)
        return ReferenceInference(
            outputs=tuple(arrays[:outputs]),
            tensors=MappingProxyType(dict(zip(tensors, arrays[outputs:], strict=True))),
            checksums=tuple(header["checksums"]),
        )

    def close(self) -> None:
        """End the child."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            try:
                if stream is not None:
                    stream.close()
            except OSError:  # a request that the dead child never read
                pass

    def __enter__(self) -> Reference:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(
        self, request: Mapping[str, Any], blobs: Sequence[bytes], what: str
    ) -> tuple[dict[str, Any], list[bytes]]:
        assert self._process.stdin is not None and self._process.stdout is not None
        timer = threading.Timer(self._timeout_s, self._process.kill)
        timer.start()
        try:
            send(self._process.stdin, request, blobs)
            answer = receive(self._process.stdout)
        except (BrokenPipeError, OSError):
            answer = None
        finally:
            timer.cancel()
        if answer is not None and "error" not in answer[0]:
            return answer
        if answer is None:
            problem = f"{_NAMES[self.engine]} died while it was to {what} ({self._fate()})"
        else:
            problem = f"{_NAMES[self.engine]} could not {what}: {answer[0]['error']}"
        raise ToolError(
            problem,
            where=self._tail(),
            mend="see whether the model runs in TensorFlow Lite; convert it again if it does not",
        )

    def _fate(self) -> str:
        code = self._process.wait()
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def _tail(self) -> str:
        """The last lines that the interpreter printed, which name the operator."""
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").splitlines()
        return "; ".join(line.strip() for line in lines if line.strip())[-400:]


def run_golden(
    model: bytes,
    inputs: Sequence[Sequence[Array]],
    *,
    tensors: Sequence[int] = (),
    checksums: Sequence[Sequence[int]] = (),
    keep_state: bool = False,
    compare: Graph | None = None,
) -> GoldenRun:
    """Run `inputs` (one sequence of arrays an inference) through the golden reference.

    `tensors` and `checksums` as in `Reference.infer`. With `keep_state` the inferences are one
    sequence from the initial state. With `compare` (the model's graph) the desktop interpreter
    runs too and is compared by operator. Raises ToolError.
    """
    groups = list(checksums)
    if compare is not None:
        groups += [op.outputs for op in compare.operators if _is_computed(compare, op.outputs)]
    with Reference(model) as golden:
        inferences = _run(golden, inputs, tensors, groups, keep_state)
        fallbacks = golden.fallbacks
    desktop = None
    if compare is not None:
        desktop = _compare(model, inputs, compare, inferences, groups, len(checksums), keep_state)
    asked = tuple(
        ReferenceInference(i.outputs, i.tensors, i.checksums[: len(checksums)]) for i in inferences
    )
    return GoldenRun(asked, fallbacks, desktop)


def _is_computed(graph: Graph, outputs: Sequence[int]) -> bool:
    return all(graph.tensors[i].source is not None for i in outputs)


def _run(
    reference: Reference,
    inputs: Sequence[Sequence[Array]],
    tensors: Sequence[int],
    checksums: Sequence[Sequence[int]],
    keep_state: bool,
) -> tuple[ReferenceInference, ...]:
    return tuple(
        reference.infer(
            arrays, tensors=tensors, checksums=checksums, reset=not keep_state or position == 0
        )
        for position, arrays in enumerate(inputs)
    )


def _compare(
    model: bytes,
    inputs: Sequence[Sequence[Array]],
    graph: Graph,
    golden: Sequence[ReferenceInference],
    groups: Sequence[Sequence[int]],
    skip: int,
    keep_state: bool,
) -> DesktopComparison:
    try:
        with Reference(model, "desktop") as desktop:
            other = _run(desktop, inputs, (), groups, keep_state)
    except ToolError as error:
        return DesktopComparison(refusal=error.problem)
    first = len(groups)
    largest = differing = 0
    for ours, theirs in zip(golden, other, strict=True):
        gaps = [
            float(np.max(np.abs(a.astype(np.float64) - b.astype(np.float64)), initial=0))
            for a, b in zip(ours.outputs, theirs.outputs, strict=True)
        ]
        largest = max(largest, int(np.ceil(max(gaps, default=0))))
        differing += any(gap > 0 for gap in gaps)
        for position in range(skip, first):
            if ours.checksums[position] != theirs.checksums[position]:
                first = position
                break
    operator = graph.producer(groups[first][0]) if first < len(groups) else None
    source = graph.operators[operator].source if operator is not None else None
    return DesktopComparison(largest, differing, source)


def sample_inputs(graph: Graph, count: int, seed: int) -> list[tuple[Array, ...]]:
    """All least, all greatest, all zero point, then `count` random inputs, each a tuple of arrays.

    Random values cover the stored range evenly; a float input covers the range of the QUANTIZE
    that reads it and a little beyond; indices into a table stay inside it.
    """
    if count < 0:
        raise InputError(f"{count} test inputs were asked for", mend="ask for 0 or more")
    random = np.random.default_rng(seed)
    extremes = [
        tuple(_extreme(graph, index, which) for index in graph.inputs) for which in range(3)
    ]
    drawn = [tuple(_random(graph, index, random) for index in graph.inputs) for _ in range(count)]
    return extremes + drawn


def _range(graph: Graph, index: int) -> tuple[float, float, float]:
    """(least, greatest, neutral) value of an input as stored."""
    tensor = graph.tensors[index]
    readers = [graph.operators[p] for p in graph.consumers(index)]
    if tensor.dtype == "float32":
        for reader in readers:
            target = graph.tensors[reader.outputs[0]]
            if reader.kind == "QUANTIZE" and target.quantization is not None:
                scale, point = target.quantization.scale, target.quantization.zero_point
                info = np.iinfo(target.dtype)
                return scale * (info.min - point - 2), scale * (info.max - point + 2), 0.0
        return -1.0, 1.0, 0.0
    if tensor.dtype == "bool":
        return 0, 1, 0
    for reader in readers:
        if reader.kind in ("GATHER", "EMBEDDING_LOOKUP") and tensor.dtype in ("int32", "int64"):
            by_row = reader.kind == "EMBEDDING_LOOKUP"
            table = graph.tensors[reader.inputs[1 if by_row else 0]]
            axis = 0 if by_row else reader.attributes.get("axis", 0)
            return 0, table.shape[axis] - 1, 0
    if tensor.dtype in ("int32", "int64") and tensor.quantization is None:
        return 0, 1, 0
    info = np.iinfo(tensor.dtype)
    point = tensor.quantization.zero_point if tensor.quantization is not None else 0
    return info.min, info.max, point


def _extreme(graph: Graph, index: int, which: int) -> Array:
    tensor = graph.tensors[index]
    return np.full(tensor.shape, _range(graph, index)[which], tensor.dtype)


def _random(graph: Graph, index: int, random: np.random.Generator) -> Array:
    tensor = graph.tensors[index]
    low, high, _ = _range(graph, index)
    if tensor.dtype == "float32":
        return random.uniform(low, high, tensor.shape).astype(np.float32)
    return random.integers(int(low), int(high), tensor.shape, endpoint=True).astype(tensor.dtype)
