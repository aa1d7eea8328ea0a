# SPDX-License-Identifier: Apache-2.0
"""Unrolled recurrent layers as the converter writes them, small, with scales drawn at random.

The first step has no state to begin with and looks otherwise; every step has scales of its own;
the operators of the steps stand among each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tflite_builder import ModelBuilder

IN, UNITS = 6, 5


class Recurrent:
    """A model of one recurrent layer; `hidden[i]` is what step i makes."""

    def __init__(self, steps: int, seed: int = 1, *, backward: bool = False) -> None:
        self.builder = ModelBuilder()
        self.random = np.random.default_rng(seed)
        self.steps = steps
        self.sequence = self.builder.input((1, steps, IN), scale=0.02, zero_point=-3)
        slices = [
            self.builder.tensor((1, IN), scale=0.02, zero_point=-3, name=f"slice_{i}")
            for i in range(steps)
        ]
        self.builder.operator("UNPACK", [self.sequence], slices, num=steps, axis=1)
        self.slices = slices[::-1] if backward else slices
        self.hidden: list[int] = []

    def activation(self, columns: int, scale: float | None = None, zero_point: int = 0) -> int:
        if scale is None:
            scale = float(np.float32(0.02 * self.random.uniform(0.5, 2.0)))
            zero_point = int(self.random.integers(-30, 30))
        return self.builder.tensor((1, columns), scale=scale, zero_point=zero_point)

    def weights(self, rows: int, columns: int, *, per_row: bool = True) -> int:
        data = self.random.integers(-127, 128, (rows, columns), dtype=np.int8)
        scales = self.random.uniform(0.002, 0.02, rows if per_row else 1)
        return self.builder.constant(data, scale=[float(np.float32(s)) for s in scales], axis=0)

    def dense(self, x: int, weights: int, columns: int, *, biased: bool = False) -> int:
        """With a bias of this step alone, as the converter writes it for a scale of its own."""
        bias = -1
        if biased:
            bias = self.builder.constant(self.random.integers(-3000, 3000, columns, np.int32))
        return self.builder.operator(
            "FULLY_CONNECTED", [x, weights, bias], self.activation(columns)
        )

    def tanh(self, x: int, columns: int) -> int:
        return self.builder.operator("TANH", [x], self.activation(columns, 1 / 128))

    def simple(self, *, per_row: bool = True, biased: bool = False) -> Recurrent:
        """SimpleRNN: h = tanh(W x + U h). The products W x of all steps come first."""
        kernel, recurrent = self.weights(UNITS, IN), self.weights(UNITS, UNITS, per_row=per_row)
        order = self.random.permutation(self.steps)
        products = {int(i): self.dense(self.slices[i], kernel, UNITS) for i in order}
        self.hidden = [self.tanh(products[0], UNITS)]
        for step in range(1, self.steps):
            fed_back = self.dense(self.hidden[-1], recurrent, UNITS, biased=biased)
            total = self.builder.operator("ADD", [products[step], fed_back], self.activation(UNITS))
            self.hidden.append(self.tanh(total, UNITS))
        return self

    def gated(self) -> Recurrent:
        """A layer with a second state, gates that are cut from one product, and a constant."""
        b, wide = self.builder, 3 * UNITS
        kernel, recurrent = self.weights(wide, IN), self.weights(wide, UNITS)
        axis = b.constant(np.array(1, np.int32))
        one = b.constant(np.array(127, np.int8), scale=1 / 255, zero_point=-128)
        state = self.tanh(self.dense(self.slices[0], self.weights(UNITS, IN), UNITS), UNITS)
        hidden = self.tanh(state, UNITS)
        self.hidden = [hidden]
        for step in range(1, self.steps):
            fed_back = self.dense(hidden, recurrent, wide)
            product = self.dense(self.slices[step], kernel, wide)
            total = b.operator("ADD", [product, fed_back], self.activation(wide, 0.03, 5))
            gates = [self.activation(UNITS, 0.03, 5) for _ in range(3)]
            b.operator("SPLIT", [axis, total], gates, num_splits=3)
            keep = b.operator("LOGISTIC", [gates[0]], self.activation(UNITS, 1 / 256, -128))
            rest = b.operator("SUB", [one, keep], self.activation(UNITS))
            kept = b.operator("MUL", [keep, state], self.activation(UNITS))
            new = b.operator("MUL", [rest, self.tanh(gates[1], UNITS)], self.activation(UNITS))
            state = b.operator("ADD", [kept, new], self.activation(UNITS))
            gate = b.operator("LOGISTIC", [gates[2]], self.activation(UNITS, 1 / 256, -128))
            hidden = b.operator("MUL", [gate, self.tanh(state, UNITS)], self.activation(UNITS))
            self.hidden.append(hidden)
        return self

    def packed(self, hidden: Sequence[int]) -> int:
        """PACK of what steps make."""
        whole = self.builder.tensor((len(hidden), 1, UNITS), scale=1 / 128, zero_point=0)
        return self.builder.operator("PACK", hidden, whole, values_count=len(hidden), axis=0)

    def build(self, *outputs: int) -> bytes:
        """The model, with a dense layer behind the outputs that are vectors."""
        ends = []
        for output in outputs:
            vector = output in self.hidden
            ends.append(self.dense(output, self.weights(3, UNITS), 3) if vector else output)
        return self.builder.build(ends)
