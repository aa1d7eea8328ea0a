# SPDX-License-Identifier: Apache-2.0
"""Renode's Robot keywords by name and arguments, so that a suite can be checked without Renode."""

from __future__ import annotations

from robot.api.deco import keyword, library


@library
class renode_keywords:  # noqa: N801 - Robot wants the class named as the module
    @keyword
    def execute_command(self, command: str, machine: str | None = None) -> str:
        return ""

    @keyword
    def create_log_tester(self, timeout: float, default_pause_emulation: bool = False) -> int:
        return 0

    @keyword
    def register_failing_log_string(self, pattern: str) -> None: ...

    @keyword
    def should_not_be_in_log(self, pattern: str, timeout: float | None = None) -> None: ...

    @keyword
    def create_terminal_tester(
        self,
        uart: str,
        timeout: float | None = None,
        binaryMode: bool = False,  # noqa: N803
    ) -> int:
        return 0

    @keyword
    def register_failing_uart_string(self, pattern: str) -> None: ...

    @keyword
    def start_emulation(self) -> None: ...

    @keyword
    def wait_for_line_on_uart(self, content: str, timeout: float | None = None) -> None: ...

    @keyword
    def wait_for_bytes_on_uart(self, content: str, timeout: float | None = None) -> None: ...
