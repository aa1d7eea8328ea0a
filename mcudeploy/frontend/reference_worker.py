# SPDX-License-Identifier: Apache-2.0
"""The child process in which the reference interpreters run (both can abort their process).

Run as a script, it serves requests on standard input and answers on standard output until its
input ends. A message is a 4-byte little-endian length, a JSON header of that length, and the
blobs whose lengths the header lists under `blobs`. Requests:

    {"do": "load", "engine": "golden" | "desktop"}, [model]
    {"do": "infer", "reset": bool, "tensors": [...], "checksums": [[...], ...]}, [input, ...]

The golden engine is TensorFlow Lite Micro (TFLM). Where TFLM lacks an operator or a type of it,
the model is cut: runs of operators that TFLM has are models of their own, and each operator that
it lacks is a model that LiteRT's BUILTIN_REF kernels run; values are passed from one to the next.

This file imports nothing of mcudeploy, so that the child starts fast.
"""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_ARENA_FLOOR = 32 << 20
_ARENA_CEILING = 2 << 30
_NO_TENSOR = -1
_MOST_OUTPUTS = 400
"""Of a run that TFLM takes as one model: it plans at most 1,024 buffers, scratch among them."""


def send(stream: IO[bytes], header: Mapping[str, Any], blobs: Sequence[bytes] = ()) -> None:
    """Write one message."""
    text = json.dumps({**header, "blobs": [len(blob) for blob in blobs]}).encode()
    stream.write(len(text).to_bytes(4, "little") + text)
    for blob in blobs:
        stream.write(blob)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], list[bytes]] | None:
    """Read one message; None at the stream's end, also in the midst of a message."""
    size = stream.read(4)
    text = stream.read(int.from_bytes(size, "little")) if len(size) == 4 else b""
    if not text:
        return None
    try:
        header = json.loads(text)
    except ValueError:
        return None
    blobs = [stream.read(length) for length in header["blobs"]]
    complete = all(len(b) == n for b, n in zip(blobs, header["blobs"], strict=True))
    return (header, blobs) if complete else None


class Engine(Protocol):
    """An interpreter that keeps every tensor of its last inference."""

    def set_tensor(self, index: int, value: Array) -> None: ...
    def invoke(self) -> None: ...
    def tensor(self, index: int) -> Array: ...
    def reset(self) -> None: ...


class Micro:
    """TFLM over a whole model or a part of one."""

    def __init__(self, model: bytes, inputs: Sequence[int], tensor_bytes: int) -> None:
        from tflite_micro.python.tflite_micro import runtime

        # Memory that TFLM does not touch costs nothing, and too small an arena can crash it.
        arena = min(_ARENA_FLOOR + 4 * tensor_bytes, _ARENA_CEILING)
        self._interpreter = runtime.Interpreter.from_bytes(
            model,
            arena_size=arena,
            intrepreter_config=runtime.InterpreterConfig.kPreserveAllTensors,
        )
        self._positions = {index: position for position, index in enumerate(inputs)}

    def set_tensor(self, index: int, value: Array) -> None:
        self._interpreter.set_input(value, self._positions[index])

    def invoke(self) -> None:
        self._interpreter.invoke()

    def tensor(self, index: int) -> Array:
        value: Array = self._interpreter.GetTensor(index, 0)["tensor_data"]
        return value

    def reset(self) -> None:
        self._interpreter.reset()


class Desktop:
    """LiteRT with its reference kernels; with its optimized ones where it has no others (ELU)."""

    def __init__(self, model: bytes) -> None:
        from ai_edge_litert.interpreter import OpResolverType as Kernels

        try:
            self._interpreter = self._open(model, Kernels.BUILTIN_REF)
        except (RuntimeError, ValueError):
            self._interpreter = self._open(model, Kernels.BUILTIN_WITHOUT_DEFAULT_DELEGATES)

    def _open(self, model: bytes, kernels: Any) -> Any:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(
            model_content=model,
            experimental_op_resolver_type=kernels,
            experimental_preserve_all_tensors=True,
            num_threads=1,
        )
        interpreter.allocate_tensors()
        return interpreter

    def set_tensor(self, index: int, value: Array) -> None:
        self._interpreter.set_tensor(index, value)

    def invoke(self) -> None:
        self._interpreter.invoke()

    def tensor(self, index: int) -> Array:
        value: Array = self._interpreter.get_tensor(index)
        return value

    def reset(self) -> None:
        self._interpreter.reset_all_variables()


class Part:
    """A run of consecutive operators with the engine that computes them."""

    def __init__(self, engine: Engine, inputs: Sequence[int], produced: Sequence[int]) -> None:
        self.engine = engine
        self.inputs = inputs
        self.produced = frozenset(produced)


class Model:
    """The .tflite file as objects, to be cut into parts."""

    def __init__(self, data: bytes) -> None:
        import flatbuffers  # type: ignore[import-untyped]
        from ai_edge_litert import schema_py_generated as schema

        self._flatbuffers = flatbuffers
        self._schema = schema
        self.data = data
        self.model = schema.ModelT.InitFromPackedBuf(data, 0)
        self.graph = self.model.subgraphs[0]
        self.operators: list[Any] = list(self.graph.operators)
        self.inputs = [int(i) for i in self.graph.inputs]
        self.outputs = [int(i) for i in self.graph.outputs]
        self._close_shapes()

    def _close_shapes(self) -> None:
        """Give tensors with an open batch the sizes that LiteRT finds; TFLM resizes nothing."""
        open_tensors = [t for t in self.graph.tensors if -1 in list(_items(t.shapeSignature))]
        if not open_tensors:
            return
        desktop = Desktop(self.data)
        for index in self.inputs:
            desktop.set_tensor(index, self.zeros(index))
        desktop.invoke()
        for index, tensor in enumerate(self.graph.tensors):
            if -1 in list(_items(tensor.shapeSignature)):
                tensor.shape = list(desktop.tensor(index).shape)
                tensor.shapeSignature = None
        self.data = self.packed(self.model)

    def packed(self, model: Any) -> bytes:
        builder = self._flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def tensor_bytes(self) -> int:
        sizes = [8 * int(np.prod(_items(t.shape), dtype=np.int64)) for t in self.graph.tensors]
        return sum(sizes)

    def constant(self, index: int) -> bool:
        buffer = self.model.buffers[self.graph.tensors[index].buffer]
        return buffer.data is not None and len(buffer.data) > 0

    def reads(self, operators: Sequence[Any]) -> list[int]:
        """Tensors that `operators` take from outside: neither constant, state nor their own."""
        own = {int(i) for operator in operators for i in operator.outputs}
        found: dict[int, None] = {}
        for operator in operators:
            for index in (int(i) for i in _items(operator.inputs)):
                if index == _NO_TENSOR or index in own or self.constant(index):
                    continue
                if not self.graph.tensors[index].isVariable:
                    found[index] = None
        return list(found)

    def cut(self, operators: Sequence[Any]) -> tuple[bytes, list[int]]:
        """A model of some operators, with the tensors that are its inputs; indices stay."""
        from copy import copy

        used = {int(i) for o in operators for i in (*_items(o.inputs), *o.outputs)}
        kept = {self.graph.tensors[i].buffer for i in used if i != _NO_TENSOR}
        graph, model = copy(self.graph), copy(self.model)
        inputs = self.reads(operators)
        unused = self._schema.TensorT()
        unused.shape = [0]
        graph.tensors = [t if i in used else unused for i, t in enumerate(self.graph.tensors)]
        graph.operators = list(operators)
        graph.inputs = inputs
        graph.outputs = [int(i) for operator in operators for i in operator.outputs]
        model.subgraphs = [graph]
        model.signatureDefs = None
        model.metadata = None
        empty = self._schema.BufferT()
        model.buffers = [b if i in kept else empty for i, b in enumerate(self.model.buffers)]
        return self.packed(model), inputs

    def quantization(self, index: int) -> tuple[list[float], list[int]]:
        """Scales and zero points."""
        found = self.graph.tensors[index].quantization
        if found is None or found.scale is None or found.zeroPoint is None:
            return [], [0]
        return [float(s) for s in found.scale], [int(z) for z in found.zeroPoint]

    def dtype(self, index: int) -> np.dtype[Any]:
        names = {v: k for k, v in vars(self._schema.TensorType).items() if isinstance(v, int)}
        found: np.dtype[Any] = np.dtype(names[self.graph.tensors[index].type].lower())
        return found

    def zeros(self, index: int) -> Array:
        return np.zeros(
            [int(d) for d in _items(self.graph.tensors[index].shape)], self.dtype(index)
        )

    def kind(self, operator: Any) -> str:
        code = self.model.operatorCodes[operator.opcodeIndex]
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        names = {v: k for k, v in vars(self._schema.BuiltinOperator).items() if isinstance(v, int)}
        return str(names.get(number, number))


def _items(vector: Any) -> Sequence[int]:
    return [] if vector is None else [int(i) for i in vector]


class Runner:
    """A loaded model: its parts in order, and every value of the last inference."""

    def __init__(self, model: Model, parts: Sequence[Part], lacking: Mapping[int, str]) -> None:
        self.model = model
        self.parts = parts
        self.lacking = lacking

    def infer(self, inputs: Sequence[bytes], reset: bool) -> None:
        self._inputs: dict[int, Array] = {}
        for index, data in zip(self.model.inputs, inputs, strict=True):
            like = self.model.zeros(index)
            if len(data) != like.nbytes:
                raise ValueError(f"input of {len(data)} bytes, the model takes {like.nbytes}")
            self._inputs[index] = np.frombuffer(data, like.dtype).reshape(like.shape)
        for part in self.parts:
            if reset:
                part.engine.reset()
            for index in part.inputs:
                part.engine.set_tensor(index, self.value(index))
            part.engine.invoke()

    def value(self, index: int) -> Array:
        """A tensor of this inference."""
        for part in self.parts:
            if index in part.produced:
                return part.engine.tensor(index)
        if index in self._inputs:
            return self._inputs[index]
        raise ValueError(f"tensor {index} is no input and no operator writes it")


def load_desktop(model: Model) -> Runner:
    produced = [int(i) for o in model.operators for i in o.outputs]
    return Runner(model, [Part(Desktop(model.data), model.inputs, produced)], {})


def load_golden(model: Model) -> Runner:
    """TFLM for all of the model, or for as much of it as TFLM has."""
    produced = [int(i) for o in model.operators for i in o.outputs]
    kinds = [model.kind(operator) for operator in model.operators]
    lacking = {
        index: kinds[index]
        for index, operator in enumerate(model.operators)
        if _micro_is_wrong(model, operator)
    }
    whole = len(produced) <= _MOST_OUTPUTS
    try:
        if not lacking and whole:
            engine = Micro(model.data, model.inputs, model.tensor_bytes())
            _try_out(engine, model, model.inputs)
            return Runner(model, [Part(engine, model.inputs, produced)], {})
        if not lacking:
            runner = Runner(model, list(_parts(model, {})), {})
            runner.infer([model.zeros(index).tobytes() for index in model.inputs], reset=True)
            return runner
    except RuntimeError:
        pass
    for index, operator in enumerate(model.operators):
        if index not in lacking and not _micro_has(model, operator):
            lacking[index] = kinds[index]
    if not lacking and whole:
        # Each operator works on its own: the trial's zeros were outside some operator's domain.
        engine = Micro(model.data, model.inputs, model.tensor_bytes())
        return Runner(model, [Part(engine, model.inputs, produced)], {})
    return Runner(model, list(_parts(model, lacking)), lacking)


def _parts(model: Model, lacking: Mapping[int, str]) -> Iterator[Part]:
    """Runs of operators for TFLM, and between them the single ones that it lacks."""
    run: list[Any] = []
    for index, operator in enumerate(model.operators):
        alone = index in lacking
        outputs = sum(len(o.outputs) for o in (*run, operator))
        if run and (alone or outputs > _MOST_OUTPUTS):
            yield _part(model, run, micro=True)
            run = []
        if alone:
            yield _part(model, [operator], micro=False)
        else:
            run.append(operator)
    if run:
        yield _part(model, run, micro=True)


def _part(model: Model, operators: Sequence[Any], *, micro: bool) -> Part:
    data, inputs = model.cut(operators)
    engine: Engine = Micro(data, inputs, model.tensor_bytes()) if micro else Desktop(data)
    return Part(engine, inputs, [int(i) for o in operators for i in o.outputs])


def _try_out(engine: Engine, model: Model, inputs: Sequence[int], fill: int = 0) -> None:
    for index in inputs:
        engine.set_tensor(index, np.full_like(model.zeros(index), fill))
    engine.invoke()
    engine.reset()


def _micro_is_wrong(model: Model, operator: Any) -> bool:
    """TFLM has this operator but computes something else than it means.

    SPACE_TO_BATCH_ND pads with the stored 0 instead of the zero point; RELU6 clamps stored values
    though input and output have different scales.
    """
    kind = model.kind(operator)
    if kind not in ("SPACE_TO_BATCH_ND", "RELU6"):
        return False
    source, target = (model.quantization(v[0]) for v in (operator.inputs, operator.outputs))
    return source != target if kind == "RELU6" else source[1] != [0]


def _micro_has(model: Model, operator: Any) -> bool:
    """TFLM prepares and runs this operator alone; on 127 or on 0, as some have a domain."""
    data, inputs = model.cut([operator])
    for fill in (127, 1, 0):
        try:
            engine = Micro(data, inputs, model.tensor_bytes())
            _try_out(engine, model, inputs, fill)
            return True
        except RuntimeError:
            continue
    return False


def _answer(runner: Runner, header: Mapping[str, Any], blobs: Sequence[bytes]) -> Any:
    runner.infer(blobs, header["reset"])
    wanted = [*runner.model.outputs, *header["tensors"]]
    values = [np.ascontiguousarray(runner.value(index)) for index in wanted]
    checksums = []
    for group in header["checksums"]:
        crc = 0
        for index in group:
            crc = zlib.crc32(np.ascontiguousarray(runner.value(index)).tobytes(), crc)
        checksums.append(crc)
    shapes = [[str(v.dtype), list(v.shape)] for v in values]
    return {"arrays": shapes, "checksums": checksums}, [v.tobytes() for v in values]


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until they end."""
    runner: Runner | None = None
    while (message := receive(requests)) is not None:
        header, blobs = message
        try:
            if header["do"] == "load":
                model = Model(blobs[0])
                runner = load_golden(model) if header["engine"] == "golden" else load_desktop(model)
                send(answers, {"lacking": {str(k): v for k, v in runner.lacking.items()}})
            elif runner is not None:
                send(answers, *_answer(runner, header, blobs))
        except Exception as error:
            send(answers, {"error": str(error) or type(error).__name__})


if __name__ == "__main__":
    # Native code prints where it likes: the answers get a descriptor of their own.
    own = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, own)
