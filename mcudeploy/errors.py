# SPDX-License-Identifier: Apache-2.0
"""The one exception family: what is wrong, where, and what to do about it.

Every failure that a user can cause or meet is raised as an `McudeployError`; the command line
prints it as one message and exits with `exit_code`. Anything else that reaches the command line
is a defect of mcudeploy.
"""

from __future__ import annotations


class McudeployError(Exception):
    """A failure with its cause, its place and its mend.

    `problem` is one sentence that says what is wrong. `where` names the tensor, operator, file or
    memory region (empty when there is none). `mend` says what the user can do, as a sentence or a
    command (empty when nothing can be done).
    """

    exit_code = 2

    def __init__(self, problem: str, *, where: str = "", mend: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.mend = mend

    def __str__(self) -> str:
        lines = [self.problem]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.mend:
            lines.append(f"  mend:  {self.mend}")
        return "\n".join(lines)


class InputError(McudeployError):
    """A file, an argument or a value that mcudeploy was given is unusable."""


class UnsupportedModelError(McudeployError):
    """The model is well formed but holds something that cannot be deployed."""


class ToolError(McudeployError):
    """A tool that the command needs is missing, too old or failed."""


class PlanError(McudeployError):
    """A memory plan could not be made, or the independent checker refused it."""


class BuildError(McudeployError):
    """The firmware did not compile or link."""


class EmulationError(McudeployError):
    """The firmware faulted, hung or ended without its verdict on an emulator."""


class LinkError(McudeployError):
    """The serial link to a firmware failed: no answer, wrong firmware, corrupt frames."""
