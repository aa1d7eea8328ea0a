# SPDX-License-Identifier: Apache-2.0
"""The memory planner by itself: hard packing problems, the zoo's networks, branched networks.

    python benchmarks/packing.py [--instances FOLDER] [--capacity 1048576] [--models FOLDER]

1. Every CSV file of the folder of instances (`id,lower,upper,size`) packed into the capacity,
   beside first fit by size; the seconds are of one core.
2. Every network of the zoo and every .tflite of the folder of models, without overlap and without
   scratch: peak, proven bound, gap. Those of over 300 operators must take less than 2 s.
3. Random networks of 300 operators with views, overlap rules and several kernels an operator
   (tests/memory_graphs.py): each must take less than 2 s of one core.
4. Networks whose branches can be run in many orders: live bytes in the order as built (branch
   after branch), level by level (as exporters write that sort by depth), and in the order found,
   with its bound.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from memory_graphs import random_network

from mcudeploy import zoo
from mcudeploy.board import find_board
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.graph.ir import Graph, Operator, Tensor
from mcudeploy.memory.checker import check_plan
from mcudeploy.memory.csvfile import pack_csv, read_csv
from mcudeploy.memory.geometry import make_geometry
from mcudeploy.memory.greedy import orders, place
from mcudeploy.memory.plan import Plan
from mcudeploy.memory.planner import PlanOptions, make_plan
from mcudeploy.operators.base import Implementation
from mcudeploy.zoo.lowering import lower
from mcudeploy.zoo.net import Net

BOARD = find_board("stm32f469")
# One region, so that the sum over the regions is what is minimized.
BOARD = BOARD.model_copy(
    update={"memory": tuple(r for r in BOARD.memory if r.kind == "flash" or r.name == "sram")}
)


def instances(folder: Path, capacity: int) -> Table:
    table = Table("instance", "buffers", "by size", "packed", "bound", "s", title="Hard instances")
    total = 0.0
    for path in sorted(folder.glob("*.csv")):
        problem = read_csv(path)
        geometry = make_geometry(problem)
        greedy = place(geometry, orders(geometry)[0][1])
        assert greedy is not None
        begin = time.process_time()
        packing = pack_csv(path, capacity)
        seconds = time.process_time() - begin
        total += seconds
        table.add_row(
            path.stem, str(len(problem.buffers)), f"{geometry.height(greedy):,}",
            f"{packing.height:,}", f"{packing.lower_bound:,}", f"{seconds:.2f}",
        )  # fmt: skip
    table.add_row("all", "", "", "", "", f"{total:.2f}")
    return table


def plan(graph: Graph) -> tuple[Plan, float]:
    """The plan of feature maps alone, checked, and its seconds; reshapes are views."""
    any_kernel, view = Implementation("any", ""), Implementation("none", "")
    candidates = [[view if o.kind == "RESHAPE" else any_kernel] for o in graph.operators]
    begin = time.perf_counter()
    made = make_plan(graph, candidates, BOARD, options=PlanOptions(overlap=False))
    seconds = time.perf_counter() - begin
    faults = check_plan(made)
    assert not faults, faults
    return made, seconds


def networks(models: Path | None) -> Table:
    table = Table("network", "operators", "peak", "bound", "gap", "ms", title="Without overlap")
    graphs = [zoo.graph(name) for name in zoo.names()]
    for path in sorted(models.glob("*.tflite")) if models else ():
        graphs.append(replace(read_tflite(path.read_bytes(), path.name), name=path.name))
    for graph in graphs:
        made, seconds = plan(graph)
        found = made.certificate
        table.add_row(
            graph.name, str(len(graph.operators)), f"{found.peak_bytes:,}",
            f"{found.lower_bound_bytes:,}", f"{found.gap_bytes:,}", f"{1000 * seconds:.0f}",
        )  # fmt: skip
    return table


def random_networks() -> Table:
    table = Table("seed", "live bytes", "bound", "peak", "bound", "s", title="300 random operators")
    for seed in range(10):
        graph, candidates = random_network(seed, 300, 4000)
        begin = time.process_time()
        made = make_plan(graph, candidates, BOARD)
        seconds = time.process_time() - begin
        faults = check_plan(made)
        assert not faults, faults
        found = made.certificate
        table.add_row(
            str(seed), f"{found.order_live_bytes:,}", f"{found.order_bound_bytes:,}",
            f"{found.peak_bytes:,}", f"{found.lower_bound_bytes:,}", f"{seconds:.2f}",
        )  # fmt: skip
    return table


def branched() -> Iterator[Graph]:
    """Networks with branches; the cells are wired at random, as searched architectures are."""
    yield inception_block()
    yield zoo.graph("googlenet", resolution=64)
    for bypass in ("none", "simple", "complex"):
        graph = zoo.graph("squeezenet", resolution=64, bypass=bypass)
        yield replace(graph, name=f"squeezenet, bypass {bypass}")
    yield zoo.graph("shufflenet", resolution=64)
    for seed in range(4):
        yield random_cells(seed, cells=3, nodes=10)


def inception_block() -> Graph:
    """GoogLeNet's first: four branches over one 28 x 28 x 192 map, concatenated."""
    net = Net("inception block 3a")
    x = net.conv(net.input(28, 28, 3), 192, 3)
    branches = [
        net.conv(x, 64, 1),
        net.conv(net.conv(x, 96, 1), 128, 3),
        net.conv(net.conv(x, 16, 1), 32, 5),
        net.conv(net.max_pool(x, 3, 1, "same"), 32, 1),
    ]
    return lower(net.finish(net.mean(net.concat(*branches))))


def by_levels(graph: Graph) -> Graph:
    """The same network with its operators sorted by their distance from the input."""
    level: dict[int, int] = {}
    ranks = []
    for operator in graph.operators:
        rank = 1 + max((level.get(i, 0) for i in operator.inputs), default=0)
        ranks.append(rank)
        level.update(dict.fromkeys(operator.outputs, rank))
    order = sorted(range(len(ranks)), key=lambda step: ranks[step])
    return graph.with_operators(tuple(graph.operators[step] for step in order))


def random_cells(seed: int, cells: int, nodes: int) -> Graph:
    """Cells in a row; in each, a node reads one to three of the nodes before it (SwiftNet-like).

    A node makes a map of 14 x 14 with 8 to 64 channels; what nothing reads is concatenated.
    """
    rng = random.Random(seed)
    tensors = [Tensor("input", (1, 28, 28, 8), "int8")]
    operators: list[Operator] = []

    def node(kind: str, inputs: list[int], channels: int) -> int:
        tensors.append(Tensor(f"{kind}{len(tensors)}", (1, 14, 14, channels), "int8"))
        operators.append(Operator(kind, tuple(inputs), (len(tensors) - 1,)))
        return len(tensors) - 1

    current = 0
    for _ in range(cells):
        members = [current]
        unread = set()
        for _ in range(nodes):
            read = rng.sample(members, min(len(members), rng.randint(1, 3)))
            unread -= set(read)
            members.append(node("CONV", read, rng.choice([8, 16, 32, 64])))
            unread.add(members[-1])
        channels = sum(tensors[i].shape[3] for i in unread)
        current = node("CONCATENATION", sorted(unread), channels)
        current = node("CONV", [current], 16)
    return Graph(f"cells, seed {seed}", tuple(tensors), tuple(operators), (0,), (current,))


def reordered() -> Table:
    table = Table(
        "network", "operators", "as built", "by levels", "reordered", "bound", "packed", "ms",
        title="Order of execution, bytes",
    )  # fmt: skip
    for graph in branched():
        made, seconds = plan(graph)
        found = made.certificate
        table.add_row(
            graph.name, str(len(graph.operators)), f"{found.file_order_live_bytes:,}",
            f"{plan(by_levels(graph))[0].certificate.file_order_live_bytes:,}",
            f"{found.order_live_bytes:,}", f"{found.order_bound_bytes:,}",
            f"{found.peak_bytes:,}", f"{1000 * seconds:.0f}",
        )  # fmt: skip
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instances", type=Path, help="folder of CSV problems")
    parser.add_argument("--capacity", type=int, default=1 << 20)
    parser.add_argument("--models", type=Path, help="folder of .tflite files")
    arguments = parser.parse_args()
    console = Console()
    if arguments.instances:
        console.print(instances(arguments.instances, arguments.capacity))
    console.print(networks(arguments.models))
    console.print(random_networks())
    console.print(reordered())


if __name__ == "__main__":
    main()
