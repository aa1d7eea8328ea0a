# SPDX-License-Identifier: Apache-2.0
"""The reference architectures of the field, written once each, counted, lowered, built.

`names()` and `describe()` say what there is; `counts()` and `graph()` need no TensorFlow and take
milliseconds; `keras_model()` gives a model whose weights quantize to sane scales; `verify()` puts
every published figure beside our own. An architecture is one file of this folder: a function that
writes its layers into a `Net`, its options, and what its paper claims.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from importlib import import_module
from typing import Any

from mcudeploy.errors import InputError
from mcudeploy.graph.ir import Graph
from mcudeploy.zoo.architecture import Architecture, Option, OptionValue, nearest
from mcudeploy.zoo.claims import Claim, Row, check
from mcudeploy.zoo.counting import Counts, LayerCount, count
from mcudeploy.zoo.lowering import lower
from mcudeploy.zoo.net import Network

__all__ = [
    "Architecture", "Claim", "Counts", "LayerCount", "Network", "Option", "Row", "counts",
    "describe", "families", "graph", "keras_model", "members", "names", "network",
    "published_accuracy", "sample_inputs", "verify",
]  # fmt: skip

_FILES = (
    "lenet", "alexnet", "overfeat", "vgg", "googlenet", "resnet", "senet", "densenet",
    "squeezenet", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3", "shufflenet", "mnasnet",
    "proxylessnas", "efficientnet", "sequence", "transformer", "mlperf_tiny", "searched",
)  # fmt: skip


@cache
def _architectures() -> dict[str, Architecture]:
    modules = (import_module(f"mcudeploy.zoo.{file}") for file in _FILES)
    return {entry.name: entry for module in modules for entry in module.ARCHITECTURES}


def names() -> tuple[str, ...]:
    """The names of all architectures, in the order of their history."""
    return tuple(_architectures())


def families() -> dict[str, tuple[str, ...]]:
    """The families that exploring knows, each with its architectures."""
    found: dict[str, list[str]] = {}
    for entry in _architectures().values():
        found.setdefault(entry.family, []).append(entry.name)
    return {family: tuple(members) for family, members in found.items()}


def describe(name: str) -> Architecture:
    """An architecture: title, paper, family, options, claims.

    Raises InputError for an unknown name; the nearest names are offered.
    """
    known = _architectures()
    if name not in known:
        raise InputError(f"the zoo has no {name!r}", where="zoo", mend=nearest(name, tuple(known)))
    return known[name]


def members(family: str) -> Iterator[tuple[str, dict[str, OptionValue]]]:
    """(name, options) of every member of a family, over all axes of its options.

    Raises InputError for an unknown family; an architecture's name is a family of its own.
    """
    known = families()
    if family not in known and family not in names():
        raise InputError(
            f"the zoo has no family {family!r}", where="zoo",
            mend=nearest(family, tuple(dict.fromkeys((*known, *names())))),
        )  # fmt: skip
    for name in known.get(family, (family,)):
        for options in describe(name).members():
            yield name, options


def network(name: str, **options: Any) -> Network:
    """The layers of a member. Raises InputError for a bad name or option."""
    return describe(name).network(**options)


def graph(name: str, **options: Any) -> Graph:
    """The shape graph of a member's int8 deployment, batch 1, NHWC.

    Operators, shapes and attributes are those that TFLite's converter gives; weights are zeros and
    scales placeholders. Raises InputError for a bad name or option.
    """
    return lower(network(name, **options))


def counts(name: str, **options: Any) -> Counts:
    """Parameters and MACs of a member under every convention. Raises InputError."""
    return count(network(name, **options))


def keras_model(name: str, *, seed: int = 0, **options: Any) -> Any:
    """A member as a Keras model, initialized on seeded data so that it quantizes to sane scales.

    Raises InputError for a bad name or option, ToolError without TensorFlow.
    """
    from mcudeploy.zoo.keras_backend import build

    return build(network(name, **options), seed)


def sample_inputs(name: str, count: int = 8, *, seed: int = 0, **options: Any) -> Any:
    """Seeded float32 inputs in -1 to 1 for a member, (count, …): its calibration data."""
    from mcudeploy.zoo.keras_backend import sample_inputs as sample

    return sample(network(name, **options).input_shape, count, seed)


def published_accuracy(name: str, **options: Any) -> Claim | None:
    """What the paper says of a member's ImageNet accuracy (or error); None where it says nothing.

    The paper's own, never measured here. Raises InputError for a bad name or option.
    """
    entry = describe(name)
    wanted = entry.complete(options)
    quoted = (claim for claim in entry.claims if claim.measure is None)
    return next((c for c in quoted if entry.complete(c.options) == wanted), None)


def verify(name: str | None = None) -> tuple[Row, ...]:
    """Every published figure beside ours: of one architecture, or of all with the layer formulas.

    A row that is not met explains itself.
    """
    entries = _architectures().values() if name is None else (describe(name),)
    rows = [row for entry in entries for row in _rows(entry)]
    if name is None:
        from mcudeploy.zoo.worked_figures import rows as worked

        rows = [*worked(), *rows]
    return tuple(rows)


def _rows(entry: Architecture) -> Iterator[Row]:
    for claim in entry.claims:
        options = ", ".join(f"{k} {v}" for k, v in claim.options.items())
        system = f"{entry.title}, {options}" if options else entry.title
        yield check(system, claim, partial(counts, entry.name, **claim.options))
