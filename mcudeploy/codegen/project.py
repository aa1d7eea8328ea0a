# SPDX-License-Identifier: Apache-2.0
"""The project folder: the model's C, the kernels it needs, runtime, drivers and build files.

What is not generated is copied from `firmware/` as it is; from CMSIS-NN only the files that the
called functions reach, with its notice. The same model, board and options give the same bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mcudeploy import __version__
from mcudeploy.board import Board
from mcudeploy.budget import STACK_RESERVE_BYTES
from mcudeploy.codegen.c_source import array_elements, comment_text
from mcudeploy.codegen.emulation import GoldenInference, emulation_files, has_renode
from mcudeploy.codegen.library import kernel_files, library_files
from mcudeploy.codegen.manifest import MANIFEST_NAME, Form, Manifest, make_manifest
from mcudeploy.codegen.model import ModelSource, environment, render_model
from mcudeploy.codegen.output import sha256, with_hashes, write_project
from mcudeploy.deployment import Deployment
from mcudeploy.deployment_stream import budget_bytes
from mcudeploy.errors import InputError
from mcudeploy.frontend.reference import Reference, golden_unavailable, sample_inputs
from mcudeploy.resources import resource_folder

_OPTIMIZE_FLAG = "-O2"
_SELFTEST_SEED = 0x2545F491


@dataclass(frozen=True, eq=False)
class SelfTest:
    """One inference that the firmware checks when it boots.

    `inputs` has None for an input that the firmware draws from the seed, so that it takes no
    flash; `crcs` has the CRC-32 of each output. `golden` is the whole inference.
    """

    inputs: tuple[npt.NDArray[Any] | None, ...] = ()
    crcs: tuple[int, ...] = ()
    golden: GoldenInference = field(default_factory=GoldenInference)


def project_files(
    deployment: Deployment,
    *,
    library: Mapping[str, bytes],
    labels: tuple[str, ...] = (),
    form: Form | None = None,
) -> dict[str, bytes]:
    """Every file of a project or library, mcudeploy.json among them, by its path in the folder.

    `library` are CMSIS-NN's files by their paths. Raises InputError for a form that cannot be.
    """
    form = form or Form()
    if form.layout == "library":
        files = library_files(deployment, library, labels, form)
    else:
        files = _firmware_files(deployment, library, labels, form)
    manifest = make_manifest(
        deployment.plan,
        deployment.report,
        deployment.target,
        model_sha256=sha256(deployment.model),
        calibration=deployment.calibration,
        labels=labels,
        passes_disabled=deployment.options.disabled_passes,
        use_external=deployment.options.use_external,
        stream=deployment.options.stream,
        ram_budget=budget_bytes(deployment.options.ram_budget),
        row_fed=deployment.options.row_fed,
        form=form,
    )
    files[MANIFEST_NAME] = with_hashes(manifest, files)
    return files


def generate_project(
    deployment: Deployment,
    folder: Path,
    *,
    library: Mapping[str, bytes],
    labels: tuple[str, ...] = (),
    form: Form | None = None,
) -> Manifest:
    """Write the project of a deployment; see `project_files`."""
    files = project_files(deployment, library=library, labels=labels, form=form)
    write_project(folder, files)
    return Manifest.model_validate_json(files[MANIFEST_NAME])


def _firmware_files(
    deployment: Deployment, library: Mapping[str, bytes], labels: tuple[str, ...], form: Form
) -> dict[str, bytes]:
    if form != Form():
        raise InputError(
            "a prefix and a shared arena are for libraries: a whole firmware has one network",
            mend="add --as library",
        )
    source = ModelSource(deployment.plan, deployment.name, labels)
    files: dict[str, bytes] = {"model.tflite": deployment.model}
    for name, text in render_model(source).items():
        files[f"lib/model/{name}"] = text.encode()
    kernels = kernel_files(i for p in deployment.plan.implementations for i in p.sources)
    files |= {f"lib/kernels/{name}": content for name, content in kernels.items()}
    files |= {f"lib/cmsis_nn/{name}": content for name, content in library.items()}
    files |= _runtime(deployment.plan.board)
    files |= _rendered(deployment, labels, has_library=bool(library))
    return files


def _runtime(board: Board) -> dict[str, bytes]:
    """Start-up, link and main, and the drivers that the board names."""
    firmware = resource_folder("firmware")
    files: dict[str, bytes] = {}
    for path in sorted((firmware / "runtime").glob("*.[chS]")):
        target = "src" if path.name == "main.c" else "lib/runtime"
        files[f"{target}/{path.name}"] = path.read_bytes()
    for path in sorted((firmware / "drivers").glob("*.[chS]")):
        if path.suffix == ".h" or path.name in board.driver_files:
            files[f"lib/drivers/{path.name}"] = path.read_bytes()
    return files


def xorshift_bytes(state: int, count: int) -> tuple[int, bytes]:
    """The next `count` bytes of the generator that the firmware's self-test draws from."""
    drawn = bytearray(count)
    for i in range(count):
        state ^= state << 13 & 0xFFFFFFFF
        state ^= state >> 17
        state ^= state << 5 & 0xFFFFFFFF
        drawn[i] = state >> 24
    return state, bytes(drawn)


def _self_test(deployment: Deployment) -> SelfTest:
    """The golden answer to one random input; empty where golden cannot run."""
    if golden_unavailable() is not None:
        return SelfTest()
    graph, state = deployment.graph, _SELFTEST_SEED
    inputs: list[npt.NDArray[Any]] = []
    stored: list[npt.NDArray[Any] | None] = []
    samples = sample_inputs(graph, 1, seed=0)[-1]
    for index, sample in zip(graph.inputs, samples, strict=True):
        tensor = graph.tensors[index]
        if tensor.dtype in ("int8", "uint8", "int16"):
            state, drawn = xorshift_bytes(state, tensor.bytes)
            inputs.append(np.frombuffer(drawn, tensor.dtype).reshape(tensor.shape))
            stored.append(None)
        else:
            inputs.append(sample)
            stored.append(sample)
    with Reference(deployment.model) as golden:
        outputs = golden.infer(inputs).outputs
    golden_bytes = tuple(np.ascontiguousarray(output).tobytes() for output in outputs)
    return SelfTest(
        tuple(stored),
        tuple(zlib.crc32(output) for output in golden_bytes),
        GoldenInference(tuple(i.tobytes() for i in inputs), golden_bytes),
    )


def _rendered(
    deployment: Deployment, labels: tuple[str, ...], *, has_library: bool
) -> dict[str, bytes]:
    """Every file that comes from a template of `templates/project`."""
    board, graph = deployment.plan.board, deployment.graph
    test = _self_test(deployment)
    context: dict[str, Any] = {
        "version": __version__,
        "board": board,
        "title": comment_text(deployment.name),
        "project_name": comment_text(deployment.name),
        "optimize": _OPTIMIZE_FLAG,
        "stack_bytes": STACK_RESERVE_BYTES,
        "model_sha256": sha256(deployment.model),
        "max_instructions": None,
        "has_library": has_library,
        "has_renode": has_renode(board),
        "external": deployment.plan.external_regions,
        "labels": labels,
        "input_text": str(graph.tensors[graph.inputs[0]]).split(" ", 1)[1],
        "output_text": str(graph.tensors[graph.outputs[0]]).split(" ", 1)[1],
        "arena_text": ", ".join(f"{n:,} bytes of {r}" for r, n in deployment.plan.arenas.items()),
        "selftest_inputs": [_bytes_text(p, values) for p, values in enumerate(test.inputs)],
        "selftest_seed": _SELFTEST_SEED,
        "selftest_crcs": test.crcs,
    }
    env = environment()
    folder = resource_folder("templates") / "project"
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if name.startswith("emulation/"):
            continue
        if path.suffix == ".j2":
            text = env.get_template(f"project/{name}").render(context)
            files[_target_name(name.removesuffix(".j2"), board)] = text.encode()
        else:
            files[name] = path.read_bytes()
    # A network that is fed by rows does not take its input as one block.
    golden = GoldenInference() if deployment.options.row_fed else test.golden
    return files | emulation_files(
        board, golden, title=comment_text(deployment.name), selftest=bool(test.crcs)
    )


def _target_name(name: str, board: Board) -> str:
    if name in ("board_config.h", "selftest.h", "selftest.c"):
        return f"lib/runtime/{name}"
    return name.replace("NAME", board.name).replace("gitignore", ".gitignore")


def _bytes_text(position: int, values: npt.NDArray[Any] | None) -> dict[str, Any] | None:
    if values is None:
        return None
    raw = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    return {"position": position, "bytes": raw.size, "initializers": array_elements(raw)}
