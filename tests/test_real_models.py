# SPDX-License-Identifier: Apache-2.0
"""Networks that nobody here trained: from file to firmware, every byte equal to golden.

50 random inputs and the extremes each, on two boards, emulated with poisoned memory.
"""

import pytest

import mcudeploy
from mcudeploy.toolchain.compare import PartComparison

BOARDS = ("stm32f469", "nucleo_l4r5zi")
MODELS = {
    "kws_ref_model.tflite": 16_100,
    "vww_96_int8.tflite": 55_400,
    "pretrainedResnet_quant.tflite": 49_800,
    "ad01_int8.tflite": 800,
    "micro_speech_quantized.tflite": None,
    "hello_world_int8.tflite": None,
    "mnist_dw.h5": None,
    "pretrainedResnet.h5": 49_800,
}
"""Each file with the most that activations and scratch may take, in bytes."""

RUNTIME_BYTES = 1_536
VWW_CODE_BYTES = 32_768
CMSIS_NN_INSTRUCTIONS = {
    "kws_ref_model.tflite": 7_696_048,
    "vww_96_int8.tflite": 24_092_037,
    "pretrainedResnet_quant.tflite": 29_858_299,
    "ad01_int8.tflite": 579_844,
}
"""CMSIS-NN called directly, -O2, Cortex-M4F; ours may take 1 % more."""


def linked(sizes: tuple[PartComparison, ...], part: str) -> int:
    return sum(row.linked_bytes for row in sizes if row.part == part)


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("name", MODELS)
def test_a_real_network_reaches_proven_firmware(real_model, tmp_path, name, board):
    path = real_model(name)
    synthetic = path.suffix == ".h5"
    done = mcudeploy.deploy(path, board, tmp_path / "firmware", synthetic_calibration=synthetic)
    assert done.built is not None and done.tested is not None
    (verdict,) = done.tested.verdicts
    assert verdict.bit_exact, verdict.divergence
    assert verdict.inferences == 53
    assert verdict.distinct_outputs > 1
    assert verdict.compared_operators == verdict.operators
    assert done.tested.passed, done.tested.project_tests
    assert not done.built.warnings
    assert done.built.as_predicted, [row for row in done.built.sizes if row.broken]
    assert linked(done.built.sizes, "runtime") <= RUNTIME_BYTES
    most = MODELS[name]
    assert most is None or linked(done.built.sizes, "activations and scratch") <= most
    if name == "vww_96_int8.tflite":
        assert linked(done.built.sizes, "code") <= VWW_CODE_BYTES
    if name in CMSIS_NN_INSTRUCTIONS:
        assert verdict.instructions <= 1.01 * CMSIS_NN_INSTRUCTIONS[name]
