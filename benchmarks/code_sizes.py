# SPDX-License-Identifier: Apache-2.0
"""Measures the code of every kernel on every core: mcudeploy/operators/code_sizes.json.

Each entry point is linked alone, with all that it calls and with the generated project's flags;
its size is .text with read-only data. `runtime` is what start-up, drivers, serial link and the
model's edges take: a project's code less its kernels, for the board given.

    python benchmarks/code_sizes.py            measure all and rewrite the table
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mcudeploy.board import CORES, Core
from mcudeploy.resources import resource_folder
from mcudeploy.toolchain import cmsis_nn

TABLE = Path(__file__).parent.parent / "mcudeploy/operators/code_sizes.json"
FLAGS = ["-std=c99", "-O2", "-ffunction-sections", "-fdata-sections"]
_FUNCTION = re.compile(
    r"^(?:__attribute__\(\(\w+\)\)\s+)?(?:void|u?int\d*(?:_t)?)\s+(mcud_\w+)\(", re.M
)


def linked_bytes(
    core: Core, sources: list[Path], entries: list[str], includes: list[Path], *more: str
) -> int:
    """Bytes of flash of the entries and all that they reach; `more` are options of the linker."""
    with tempfile.TemporaryDirectory() as folder:
        elf = Path(folder) / "kernel.elf"
        keep = [f"-Wl,-u,{entry}" for entry in entries]
        subprocess.run(
            [
                "arm-none-eabi-gcc", *core.compiler_flags, *FLAGS, *(f"-I{i}" for i in includes),
                *map(str, sources), "-nostartfiles", "--specs=nano.specs", "-Wl,--gc-sections",
                f"-Wl,-e,{entries[0]}", *keep, *more, "-lm", "-o", str(elf),
            ],
            check=True,
        )  # fmt: skip
        listing = subprocess.run(
            ["arm-none-eabi-size", "-A", "-d", str(elf)], check=True, capture_output=True, text=True
        ).stdout
    wanted = (".text", ".rodata", ".ARM.exidx", ".data")
    rows = (line.split() for line in listing.splitlines())
    return sum(int(row[1]) for row in rows if len(row) == 3 and row[0].startswith(wanted))


def library_bytes(core: Core, function: str) -> int:
    """One function of CMSIS-NN with its closure."""
    tree = cmsis_nn.source()
    files = [tree / path for path in cmsis_nn.closure([function]) if path.suffix == ".c"]
    return linked_bytes(core, files, [function], [tree / "Include"])


def kernel_bytes(core: Core, path: Path) -> int:
    """All functions of one of our kernel files; CMSIS-NN's are entries of their own."""
    entries = _FUNCTION.findall(path.read_text(encoding="utf-8"))
    if not entries:
        return 0
    includes = [path.parent, cmsis_nn.source() / "Include"]
    return linked_bytes(core, [path], entries, includes, "-Wl,--unresolved-symbols=ignore-all")


def entry_functions() -> list[str]:
    """CMSIS-NN's functions that an operator of ours calls, from the operators' own sources."""
    texts = [p.read_text(encoding="utf-8") for p in TABLE.parent.rglob("*.py")]
    known = set(cmsis_nn.functions())
    words = {word for text in texts for word in re.findall(r"\barm_\w+", text)}
    return sorted(w for w in words & known if "wrapper" not in w and "buffer_size" not in w)


def measure(core: Core, runtime: int) -> dict[str, int]:
    """The row of one core."""
    row = {"runtime": runtime}
    functions = entry_functions()
    kernels = sorted(resource_folder("firmware").glob("kernels/*.c"))
    with ThreadPoolExecutor(2) as pool:
        sizes = pool.map(lambda f: library_bytes(core, f), functions)
        row |= {f"cmsis-nn:{f}": size for f, size in zip(functions, sizes, strict=True)}
        own = pool.map(lambda k: kernel_bytes(core, k), kernels)
        row |= {f"kernels/{k.name}": size for k, size in zip(kernels, own, strict=True)}
    return row


def main() -> None:
    """Rewrite the table; the runtime's figures are kept (see `benchmarks/run.py`)."""
    old = json.loads(TABLE.read_text(encoding="utf-8"))
    table = {
        name: measure(core, old.get(name, {}).get("runtime", 6000)) for name, core in CORES.items()
    }
    TABLE.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
