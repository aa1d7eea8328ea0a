# SPDX-License-Identifier: Apache-2.0
"""Low-rank kernels: a k x k convolution as a column of k and a row of k.

A kernel of rank 1 is an outer product: 2k multiplications instead of k*k, at the price of an
intermediate map. Others are sums of such products; the singular value decomposition gives the best
ones (Eckart and Young, 1936). For a whole layer the two steps share their intermediate channels
(Jaderberg, Vedaldi and Zisserman, 2014, arXiv:1405.3866, scheme 2): R x 1 from C to K channels,
then 1 x S from K to M.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mcudeploy.errors import InputError
from mcudeploy.graph.formulas import Cost, convolution

Kernel = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Factors:
    """`columns` (R, 1, C, K) then `rows` (1, S, K, M) in place of (R, S, C, M) weights.

    `error` is the root mean square of the difference, relative to that of the weights.
    """

    columns: Kernel
    rows: Kernel
    error: float

    @property
    def rank(self) -> int:
        return int(self.columns.shape[-1])

    def product(self) -> Kernel:
        """The (R, S, C, M) weights that the two steps amount to."""
        weights: Kernel = np.einsum("rck,skm->rscm", self.columns[:, 0], self.rows[0])
        return weights

    def cost(self, e: int, f: int) -> Cost:
        """Both steps for an E x F output (stride 1, same padding)."""
        r, _, c, k = self.columns.shape
        _, s, _, m = self.rows.shape
        return convolution(e, f, r, 1, c, k) + convolution(e, f, 1, s, k, m)


def factorize(weights: Kernel, rank: int) -> Factors:
    """The best factors of `rank` intermediate channels for (R, S, C, M) weights.

    Raises InputError when `rank` is not between 1 and min(R*C, S*M), where nothing is lost.
    """
    r, s, c, m = weights.shape
    full = min(r * c, s * m)
    if not 1 <= rank <= full:
        raise InputError(
            f"rank {rank} is not between 1 and {full}", where=f"kernel {r}x{s}x{c}x{m}"
        )
    matrix = weights.transpose(0, 2, 1, 3).reshape(r * c, s * m)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    root = np.sqrt(values[:rank])
    columns = (left[:, :rank] * root).reshape(r, 1, c, rank)
    rows = (root[:, None] * right[:rank]).reshape(rank, s, m).transpose(1, 0, 2)[None]
    lost = math.sqrt(float(np.sum(values[rank:] ** 2)))
    norm = math.sqrt(float(np.sum(values**2))) or 1.0
    return Factors(columns, rows, lost / norm)


def break_even_rank(r: int, s: int, c: int, m: int) -> int:
    """The largest rank at which both steps take fewer MACs than the R x S convolution."""
    return (r * s * c * m - 1) // (r * c + s * m)
