# SPDX-License-Identifier: Apache-2.0
"""The peers' published and measured figures that ours stand beside, with where they come from.

Instructions are per inference on Cortex-M4F, GCC 12.2, counted exactly on an emulator; milliseconds
are results of MLPerf Tiny on a NUCLEO-L4R5ZI at 120 MHz.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Peer:
    """Figures of one network; None where nobody published one."""

    model: str
    short: str
    tflm_instructions: int
    cmsis_instructions: int | None
    tflm_arena_bytes: int
    tflm_code_bytes: int
    lower_bound_bytes: int | None
    ms: dict[str, float]


PEERS_CORE, PEERS_BOARD = "cortex-m4f", "nucleo_l4r5zi"
SAME_KERNELS = ("TFLM+CMSIS-NN", "microTVM")
"""Those that call CMSIS-NN, as we do with `--kernels cmsis-nn`."""
FASTEST = ("X-CUBE-AI", "Plumerai")

PEERS = (
    Peer(
        "kws_ref_model", "kws", 7_847_300, 7_696_048, 22_820, 55_992, 16_000,
        {"TFLM+CMSIS-NN": 110.6, "microTVM": 99.8, "Plumerai": 47.78, "X-CUBE-AI": 43.19},
    ),
    Peer(
        "vww_96_int8", "vww", 24_720_435, 24_092_037, 100_708, 55_992, 55_296,
        {"TFLM+CMSIS-NN": 384.7, "microTVM": 301.2, "Plumerai": 98.76, "X-CUBE-AI": 88.93},
    ),
    Peer(
        "pretrainedResnet_quant", "ic", 29_874_147, 29_858_299, 54_996, 55_204, 49_152,
        {"TFLM+CMSIS-NN": 407.7, "microTVM": 389.6, "Plumerai": 167.76, "X-CUBE-AI": 165.13},
    ),
    Peer(
        "ad01_int8", "ad", 582_341, 579_844, 2_580, 28_512, 768,
        {"TFLM+CMSIS-NN": 8.92, "microTVM": 8.60, "Plumerai": 4.05, "X-CUBE-AI": 5.26},
    ),
    Peer("micro_speech_quantized", "micro_speech", 1_494_959, None, 6_836, 46_348, None, {}),
    Peer("hello_world_int8", "hello_world", 3_518, None, 772, 28_512, None, {}),
)  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """A zoo member by CMSIS-NN on a Cortex-M7, as its nearest relative was measured there."""

    name: str
    width: float
    resolution: int
    ms: float


M7_BOARD, M7_HZ = "nucleo_h743zi", 480_000_000
M7 = (
    Measured("mobilenet_v2", 0.3, 64, 43.0),
    Measured("proxylessnas_mobile", 0.3, 64, 54.0),
    Measured("proxylessnas_mobile", 0.3, 176, 380.0),
)
"""TensorFlow Lite Micro with CMSIS-NN (011bf32, -Ofast) on an STM32H743 at 480 MHz: Lin, Zhu, Chen,
Wang, Han, "Tiny Machine Learning: Progress and Futures", IEEE Circuits and Systems Magazine, 2023,
Table 3. Their networks round channels otherwise; whether the caches were on is not said."""
