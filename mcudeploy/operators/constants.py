# SPDX-License-Identifier: Apache-2.0
"""The constants of a whole network: equal ones are kept once, wherever they are used."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from mcudeploy.operators.base import Constant, Implementation


@dataclass(frozen=True, eq=False)
class SharedConstant:
    """A distinct constant: `owner` is the first operator (by position) that has it."""

    owner: int
    constant: Constant
    users: tuple[int, ...]

    @property
    def label(self) -> str:
        """Unique in the network: the first owner's position and its name for it."""
        return f"{self.owner}_{self.constant.name}"


def share_constants(
    implementations: Sequence[Implementation],
) -> tuple[tuple[SharedConstant, ...], tuple[dict[str, str], ...]]:
    """The distinct constants, and for each operator its constants' names to their labels."""
    labels: dict[tuple[str, str, str], str] = {}
    shared: dict[str, SharedConstant] = {}
    names: list[dict[str, str]] = []
    for position, implementation in enumerate(implementations):
        own: dict[str, str] = {}
        for constant in implementation.constants:
            digest = hashlib.sha256(constant.data.tobytes()).hexdigest()
            key = (digest, str(constant.data.dtype), constant.part)
            new = SharedConstant(position, constant, (position,))
            label = labels.setdefault(key, new.label)
            kept = shared.get(label, new)
            widest = max(kept.constant, constant, key=lambda c: c.alignment)
            users = tuple(dict.fromkeys((*kept.users, position)))
            shared[label] = SharedConstant(kept.owner, _renamed(widest, kept), users)
            own[constant.name] = label
        names.append(own)
    return tuple(shared.values()), tuple(names)


def _renamed(constant: Constant, kept: SharedConstant) -> Constant:
    return Constant(kept.constant.name, constant.data, constant.part, constant.alignment)


def constant_bytes(implementations: Sequence[Implementation]) -> dict[str, int]:
    """Bytes of flash by part (`weights`, `biases`, `tables`), equal constants counted once."""
    sizes = {"weights": 0, "biases": 0, "tables": 0}
    for shared in share_constants(implementations)[0]:
        sizes[shared.constant.part] += shared.constant.bytes
    return sizes
