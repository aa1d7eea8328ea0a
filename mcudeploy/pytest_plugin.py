# SPDX-License-Identifier: Apache-2.0
"""The pytest fixtures that a generated project's tests use, and that users extend them with.

`emulated_model` is the project's firmware, running on an emulator, to be called with arrays.
The project is the nearest folder above the test file that holds mcudeploy.json.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import numpy.typing as npt

    from mcudeploy.codegen.manifest import Manifest
    from mcudeploy.emulator.base import Session
    from mcudeploy.frontend.reference import Reference
    from mcudeploy.toolchain.sizes import LinkedSizes
    from mcudeploy.verify import Verdict

    Array = npt.NDArray[Any]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mcudeploy")
    group.addoption(
        "--mcudeploy-emulator", default="unicorn", help="the emulator that runs the firmware"
    )


class EmulatedModel:
    """A firmware on an emulator. Call it with one array per input, get one per output.

    Arrays have the shapes and dtypes of the model's inputs (int8: stored values); a float array
    for an integer input is quantized first. `instructions` and `operator_instructions` are those
    of the last call.
    """

    def __init__(
        self, project: Path, manifest: Manifest, session: Session, golden: Reference, name: str
    ) -> None:
        self.project = project
        self.manifest = manifest
        self.session = session
        self.emulator = name
        self._golden = golden
        self._golden_is_new = True
        self.instructions = 0
        self.operator_instructions: tuple[int, ...] = ()

    def __call__(self, *inputs: Array) -> tuple[Array, ...]:
        import numpy as np

        done = self.session.infer([self._stored(i, a) for i, a in enumerate(inputs)])
        self.instructions = done.instructions
        self.operator_instructions = done.operator_instructions
        return tuple(
            np.frombuffer(raw, edge.dtype).reshape(edge.shape)
            for raw, edge in zip(done.outputs, self.manifest.outputs, strict=True)
        )

    def _stored(self, position: int, values: Array) -> bytes:
        import numpy as np

        from mcudeploy.testing import stored_values

        edge = self.manifest.inputs[position]
        stored = stored_values(np.asarray(values)[None], edge, "the test's input")
        return bytes(stored[0].tobytes())

    def golden(self, *inputs: Array) -> tuple[Array, ...]:
        """What the golden reference gives for the same (stored) arrays, in its own state."""
        new = self._golden_is_new or not self.manifest.has_state
        self._golden_is_new = False
        return self._golden.infer(inputs, reset=new).outputs

    def reset(self) -> None:
        """Forget what a network with state (an LSTM, an SVDF) keeps, here and in golden."""
        self.session.reset()
        self._golden_is_new = True

    def sample_inputs(self, count: int = 5, seed: int = 0) -> list[tuple[Array, ...]]:
        """The extremes and `count` random inputs, as stored values."""
        from mcudeploy.frontend.reference import sample_inputs
        from mcudeploy.frontend.tflite import read_tflite
        from mcudeploy.testing import read_model

        graph = read_tflite(read_model(self.project), self.manifest.model_name)
        return list(sample_inputs(graph, count, seed))

    def verify(self, inputs: Sequence[Sequence[Array]]) -> Verdict:
        """Compare every operator's output over `inputs` with golden."""
        from mcudeploy.testing import read_model
        from mcudeploy.verify import verify

        model = read_model(self.project)
        return verify(self.manifest, model, self.session, inputs, emulator=self.emulator)

    @property
    def stack_bytes(self) -> int:
        """The most of the stack that was ever used."""
        return self.session.stack_bytes()

    @property
    def sizes(self) -> LinkedSizes:
        """What the linker placed in each memory region."""
        from mcudeploy.testing import built_firmware
        from mcudeploy.toolchain.sizes import linked_sizes

        return linked_sizes(built_firmware(self.project), self.manifest.board_record)


@pytest.fixture(scope="module")
def mcudeploy_project(request: pytest.FixtureRequest) -> Path:
    """The project folder that the test file belongs to."""
    from mcudeploy.codegen.manifest import MANIFEST_NAME

    start = Path(str(request.path)).resolve()
    for folder in start.parents:
        if (folder / MANIFEST_NAME).is_file():
            return folder
    pytest.fail(f"no folder above {start} holds {MANIFEST_NAME}")


@pytest.fixture(scope="module")
def emulated_model(
    request: pytest.FixtureRequest, mcudeploy_project: Path
) -> Iterator[EmulatedModel]:
    """The project's firmware, booted on the emulator of --mcudeploy-emulator."""
    from mcudeploy import emulator as emulators
    from mcudeploy.codegen.manifest import read_manifest
    from mcudeploy.frontend.reference import Reference
    from mcudeploy.testing import built_firmware, read_model

    name = request.config.getoption("--mcudeploy-emulator")
    manifest = read_manifest(mcudeploy_project)
    chosen = emulators.get(name)
    reason = chosen.available() or chosen.supports(manifest.board_record)
    if reason is not None:
        pytest.skip(f"{name}: {reason}")
    elf = built_firmware(mcudeploy_project)
    with (
        Reference(read_model(mcudeploy_project)) as golden,
        chosen.start(elf, manifest.board_record, poison=True) as session,
    ):
        yield EmulatedModel(mcudeploy_project, manifest, session, golden, name)
