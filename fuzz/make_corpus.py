# SPDX-License-Identifier: Apache-2.0
"""Writes the seeds of the fuzzers: small valid inputs of every kind, made by the tests' own tools.

python fuzz/make_corpus.py        writes fuzz/corpus/; found cases that were mended stay in it
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT.parent / "tests"))

from operator_cases import draw, together  # noqa: E402
from operator_table import operator_strategies  # noqa: E402
from stream_models import networks  # noqa: E402
from test_library import MODELS  # noqa: E402
from tflite_builder import ModelBuilder, one_operator  # noqa: E402

from mcudeploy import api  # noqa: E402
from mcudeploy.board import find_board  # noqa: E402
from mcudeploy.deployment import LoadedModel, Options, plan_model  # noqa: E402
from mcudeploy.emulator.frames import encode  # noqa: E402
from mcudeploy.report.jsonify import document  # noqa: E402

STREAMED = Options(stream="max")


def branching() -> bytes:
    """A network with pooling, a sum, a join and a softmax."""
    builder = ModelBuilder()
    x = builder.input((1, 8, 8, 4), scale=0.05, zero_point=-2)
    pool = {"padding": "VALID", "stride_w": 2, "stride_h": 2, "filter_width": 2,
            "filter_height": 2}  # fmt: skip
    half = {"shape": (1, 4, 4, 4), "scale": 0.05, "zero_point": -2}
    a = builder.operator("MAX_POOL_2D", [x], builder.tensor(**half), **pool)
    b = builder.operator("AVERAGE_POOL_2D", [x], builder.tensor(**half), **pool)
    c = builder.operator("ADD", [a, b], builder.tensor((1, 4, 4, 4), scale=0.1))
    d = builder.operator("CONCATENATION", [a, c], builder.tensor((1, 4, 4, 8), scale=0.05,
                         zero_point=-2), axis=3)  # fmt: skip
    e = builder.operator("RESHAPE", [d, builder.constant(np.array([1, 128], np.int32))],
                         builder.tensor((1, 128), scale=0.05, zero_point=-2))  # fmt: skip
    f = builder.tensor((1, 128), scale=1 / 256, zero_point=-128)
    return builder.build([builder.operator("SOFTMAX", [e], f, beta=1.0)])


def depthwise() -> bytes:
    """A depthwise convolution, a padding and a one-to-one operator."""
    builder = ModelBuilder()
    x = builder.input((1, 6, 6, 4), scale=0.05)
    w = builder.constant(np.ones((1, 3, 3, 4), np.int8), scale=[0.01] * 4, axis=3)
    y = builder.operator("DEPTHWISE_CONV_2D", [x, w], builder.tensor((1, 6, 6, 4), scale=0.1),
                         padding="SAME", stride_w=1, stride_h=1, depth_multiplier=1)  # fmt: skip
    z = builder.operator("LOGISTIC", [y], builder.tensor((1, 6, 6, 4), scale=1 / 256,
                         zero_point=-128))  # fmt: skip
    return builder.build([z])


def streamed() -> list[bytes]:
    """Networks of which some operators run row by row."""
    drawn = draw(networks(), 12)
    plans = [plan_model(LoadedModel(m), "", find_board("stm32f469"), STREAMED) for m in drawn]
    found = [m for m, planned in zip(drawn, plans, strict=True) if planned.plan.streams]
    return list(dict.fromkeys(found))


def main() -> None:
    """Write all seeds."""
    models = {**MODELS, "branching": branching(), "depthwise": depthwise()}
    for number, strategy in enumerate(operator_strategies()):
        models[f"operator-{number:02}"] = together(draw(strategy, 1))[0]
    models |= {f"streamed-{number}": model for number, model in enumerate(streamed())}
    models["tanh"] = one_operator("TANH", shape=(1, 40), scale=0.05, zero_point=3,
                                  out_scale=1 / 128, out_zero_point=0)  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "first.tflite"
        path.write_bytes(models["first"])
        api.generate(path, "stm32f469", folder / "firmware")
        manifest = (folder / "firmware/mcudeploy.json").read_bytes()
        checked = api.check(folder / "firmware")
    text = document("check", passed=True, broken=(), changes=None, measures=checked.measures)
    boards = ROOT.parent / "boards"
    seeds: dict[str, dict[str, bytes]] = {
        "tflite": models,
        "board": {p.stem: p.read_bytes() for p in [boards / "stm32f469.toml"]},
        "manifest": {"dense": manifest},
        "baseline": {"dense": json.dumps(json.loads(text)).encode()},
        "buffers": {"three": b"id,lower,upper,size\na,0,2,64\nb,1,3,32\nc,2,5,128\n"},
        "frames": {
            "short": encode(1, 2), "zeros": encode(3, 4, bytes(256)),
            "long": encode(5, 6, bytes(range(256))) + b"\0\0noise\0",
        },
    }  # fmt: skip
    for target, files in seeds.items():
        (ROOT / "corpus" / target).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (ROOT / "corpus" / target / name).write_bytes(content)


if __name__ == "__main__":
    main()
