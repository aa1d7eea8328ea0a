# SPDX-License-Identifier: Apache-2.0
"""The int8 networks in the folder MCUDEPLOY_MODELS (see the fixture `real_model`)."""

MODELS = (
    "kws_ref_model.tflite",
    "vww_96_int8.tflite",
    "pretrainedResnet_quant.tflite",
    "ad01_int8.tflite",
    "micro_speech_quantized.tflite",
    "hello_world_int8.tflite",
)
