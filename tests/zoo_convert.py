# SPDX-License-Identifier: Apache-2.0
"""Run as a script: builds zoo members with Keras, quantizes them, writes what came out.

Usage: python zoo_convert.py OUTPUT_FOLDER < JSON list of [name, options]. For each member number i
it writes i.tflite and a line of JSON: Keras's parameter count, output shape and the spread of its
outputs over the samples. The converter can crash the process, so tests call this as a child.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from mcudeploy import zoo


def main() -> None:
    import keras
    import tensorflow as tf

    for number, (name, options) in enumerate(json.load(sys.stdin)):
        model = zoo.keras_model(name, **options)
        samples = zoo.sample_inputs(name, **options)
        outputs = np.asarray(model(samples))
        source = keras.Input(batch_shape=(1, *samples.shape[1:]))
        converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(source, model(source)))
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda s=samples: ([x[None]] for x in s)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        Path(sys.argv[1], f"{number}.tflite").write_bytes(converter.convert())
        facts = {
            "parameters": model.count_params(),
            "trainable": sum(int(np.prod(w.shape)) for w in model.trainable_weights),
            "output": list(outputs.shape[1:]),
            "spread": float(outputs.std(axis=0).max()),
        }
        Path(sys.argv[1], f"{number}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
