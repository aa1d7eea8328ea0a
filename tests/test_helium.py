# SPDX-License-Identifier: Apache-2.0
"""Our kernels for Helium: exact on an emulated Cortex-M55 for any shape, and in their plain C."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tflite_builder import ModelBuilder

from mcudeploy import api
from mcudeploy.emulator import get
from mcudeploy.frontend.reference import golden_unavailable, sample_inputs
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.operators.kernels.requantize import requantize
from mcudeploy.resources import resource_folder
from mcudeploy.verify import verify

KERNELS = resource_folder("firmware") / "kernels"
LAYERS = [(37, 19, 1), (19, 16, 4), (16, 5, 1), (5, 130, 4), (130, 3, 1), (3, 48, 1), (48, 7, 4)]
"""Inputs, outputs, and channels a scale: whole and broken blocks of sixteen and of four."""


def dense_layers(batches: int) -> bytes:
    random = np.random.default_rng(batches)
    builder = ModelBuilder()
    before = 0.05
    x = builder.input((1, batches, LAYERS[0][0]), scale=before, zero_point=-7)
    for number, (inputs, outputs, group) in enumerate(LAYERS):
        values = random.integers(-128, 128, (outputs, inputs)).astype(np.int8)
        scales = [0.01 * (1 + i // group % 3) for i in range(outputs)] if group > 1 else 0.01
        weights = builder.constant(values, scale=scales)
        biases = builder.constant(random.integers(-3000, 3000, outputs).astype(np.int32),
                                  scale=[s * before for s in np.atleast_1d(scales)])  # fmt: skip
        after = 0.02 * (1 + inputs) ** 0.5
        made = builder.tensor((1, batches, outputs), scale=after,
                              zero_point=5 * number - 11)  # fmt: skip
        activation = "RELU" if number % 3 == 1 else "NONE"
        x = builder.operator("FULLY_CONNECTED", [x, weights, biases], made,
                             fused_activation_function=activation, keep_num_dims=True)  # fmt: skip
        before = after
    return builder.build([x])


@pytest.mark.skipif(golden_unavailable() is not None, reason=str(golden_unavailable()))
@pytest.mark.skipif(get("qemu").available() is not None, reason=str(get("qemu").available()))
@pytest.mark.parametrize("batches", [1, 3])
def test_dense_layers_of_any_shape_are_exact_on_cortex_m55(tmp_path: Path, batches: int) -> None:
    model = dense_layers(batches)
    (tmp_path / "dense.tflite").write_bytes(model)
    project = api.generate(tmp_path / "dense.tflite", "mps3_an547", tmp_path / "firmware")
    kernels = {record.kernel for record in project.manifest.operators}
    assert kernels == {"mcud_fully_connected_mve_s8"}
    built = api.build(project.folder)
    assert built.as_predicted and built.warnings == ()
    inputs = list(sample_inputs(read_tflite(model, "dense"), 10, 0))
    with get("qemu").start(built.elf, project.manifest.board_record, poison=True) as session:
        verdict = verify(project.manifest, model, session, inputs, emulator="qemu")
    assert verdict.bit_exact and verdict.distinct_outputs > 5, verdict.divergence


class Layer(ctypes.Structure):
    """mcud_fully_connected_mve_s8_t."""

    _fields_ = (
        ("weights", ctypes.c_void_p), ("starts", ctypes.c_void_p),
        ("multipliers", ctypes.c_void_p), ("shifts", ctypes.c_void_p),
        ("in_c", ctypes.c_int32), ("out_c", ctypes.c_int32), ("per_channel", ctypes.c_int16),
        ("out_zero_point", ctypes.c_int16), ("activation_min", ctypes.c_int16),
        ("activation_max", ctypes.c_int16),
    )  # fmt: skip


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler for this machine")
def test_the_plain_c_of_the_kernel_is_tflites_arithmetic(tmp_path: Path) -> None:
    source = KERNELS / "fully_connected_mve_s8.c"
    command = ["gcc", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", str(source)]
    subprocess.run([*command, "-o", str(tmp_path / "kernel.so")], check=True)
    kernel = ctypes.CDLL(str(tmp_path / "kernel.so")).mcud_fully_connected_mve_s8
    random = np.random.default_rng(0)
    for inputs, outputs, group in LAYERS:
        x = random.integers(-128, 128, (2, inputs)).astype(np.int8)
        weights = random.integers(-128, 128, (outputs, inputs)).astype(np.int8)
        starts = random.integers(-5000, 5000, outputs).astype(np.int32)
        count = outputs if group > 1 else 1
        multipliers = random.integers(1 << 30, (1 << 31) - 1, count).astype(np.int32)
        shifts = -random.integers(7, 14, count).astype(np.int32)
        arrays = [array.ctypes.data for array in (weights, starts, multipliers, shifts)]
        layer = Layer(*arrays, inputs, outputs, int(group > 1), 3, -100, 101)
        got = np.zeros((2, outputs), np.int8)
        kernel(ctypes.byref(layer), ctypes.c_void_p(x.ctypes.data),
               ctypes.c_void_p(got.ctypes.data), 2)  # fmt: skip
        sums = x.astype(np.int64) @ weights.T.astype(np.int64) + starts
        for row in range(2):
            for i in range(outputs):
                place = i if group > 1 else 0
                value = requantize(int(sums[row, i]), int(multipliers[place]), int(shifts[place]))
                assert got[row, i] == min(101, max(-100, value + 3))
