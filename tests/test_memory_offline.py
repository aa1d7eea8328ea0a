# SPDX-License-Identifier: Apache-2.0
"""A plan in the model file: TensorFlow Lite Micro uses less memory and computes the same."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mcudeploy.errors import InputError
from mcudeploy.frontend.flatbuffer_table import FlatBuffer
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.memory.offline import METADATA, plan_offline, write_offline_plan

MODELS = (
    "ad01_int8", "hello_world_int8", "kws_ref_model", "micro_speech_quantized",
    "pretrainedResnet_quant", "vww_96_int8",
)  # fmt: skip

# TFLM can abort the process, and prints its arena to the process's own output.
RUN = """
import sys, hashlib
import numpy as np
from tflite_micro import runtime
interpreter = runtime.Interpreter.from_bytes(open(sys.argv[1], "rb").read(), arena_size=1 << 20)
rng, digest = np.random.default_rng(1), hashlib.sha256()
for _ in range(3):
    details = interpreter.get_input_details(0)
    interpreter.set_input(rng.integers(-128, 128, details["shape"]).astype(details["dtype"]), 0)
    interpreter.invoke()
    digest.update(interpreter.get_output(0).tobytes())
interpreter.print_allocations()
print("outputs", digest.hexdigest(), flush=True)
"""


def run_on_tflm(path: Path) -> tuple[int, str]:
    """Arena bytes used, and a hash of the outputs for three random inputs."""
    pytest.importorskip("tflite_micro", reason="tflite-micro runs on Linux x86-64 only")
    result = subprocess.run(
        [sys.executable, "-c", RUN, str(path)], capture_output=True, text=True, check=True
    )
    text = result.stdout + result.stderr
    arena = re.search(r"Arena allocation total (\d+)", text)
    outputs = re.search(r"outputs ([0-9a-f]{64})", text)
    assert arena is not None
    assert outputs is not None
    return int(arena[1]), outputs[1]


def numbers(content: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(content) // 4}i", content))


def metadata_of(data: bytes) -> dict[str, bytes]:
    model = FlatBuffer(data, "model").root()
    buffers = [bytes(table.vector(0, "u1")) for table in model.tables(4)]
    return {t.text(0): buffers[t.scalar(1, "I")] for t in model.tables(6)}


@pytest.mark.parametrize("name", MODELS)
def test_tflm_computes_the_same_in_no_more_memory(
    name: str, real_model: Callable[[str], Path], tmp_path: Path
) -> None:
    original = real_model(f"{name}.tflite")
    planned = tmp_path / "planned.tflite"
    planned.write_bytes(write_offline_plan(original.read_bytes()))
    before, after = run_on_tflm(original), run_on_tflm(planned)
    assert after[1] == before[1]
    assert after[0] <= before[0]
    if name == "vww_96_int8":
        assert before[0] - after[0] == 18_432


def test_the_file_stays_the_same_network(real_model: Callable[[str], Path]) -> None:
    data = real_model("kws_ref_model.tflite").read_bytes()
    planned = write_offline_plan(data)
    assert planned.endswith(data)
    assert str(read_tflite(planned, "kws")) == str(read_tflite(data, "kws"))
    plan = plan_offline(read_tflite(data, "kws"))
    assert numbers(metadata_of(planned)[METADATA]) == [1, 0, len(plan.offsets), *plan.offsets]
    assert {k: v for k, v in metadata_of(planned).items() if k != METADATA} == metadata_of(data)
    assert plan.packing.optimal


def test_a_plan_in_the_file_is_replaced(real_model: Callable[[str], Path]) -> None:
    data = real_model("hello_world_int8.tflite").read_bytes()
    graph = read_tflite(data, "hello", deployable=False)
    plan = plan_offline(graph)
    twice = write_offline_plan(write_offline_plan(data, plan), plan)
    assert metadata_of(twice).keys() == {*metadata_of(data), METADATA}
    assert numbers(metadata_of(twice)[METADATA])[3:] == list(plan.offsets)


def test_a_plan_for_another_model_is_refused(real_model: Callable[[str], Path]) -> None:
    plan = plan_offline(read_tflite(real_model("kws_ref_model.tflite").read_bytes(), "kws"))
    with pytest.raises(InputError, match="another model"):
        write_offline_plan(real_model("ad01_int8.tflite").read_bytes(), plan)


@pytest.mark.parametrize("data", [b"", b"nonsense", b"\x10\0\0\0TFL3" + bytes(20)])
def test_what_is_no_model_is_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        write_offline_plan(data)
