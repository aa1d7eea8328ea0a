# SPDX-License-Identifier: Apache-2.0
"""Unicorn: the built-in emulator. It runs the very ELF at the board's own addresses.

Memory is mapped as the board declares it, flash read-only, and only the peripherals that the
firmware needs exist (`peripherals.py`); any other access faults and is reported with the function
that made it. Time is counted in instructions (`counting.py`); there is no other.

The firmware is run only while the host waits for it: writing queues bytes for the UART, reading
runs the firmware until it has sent something and then asks for more than there is.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mcudeploy.board import Board, MemoryRegion
from mcudeploy.emulator.base import TIME_LIMIT_SECONDS
from mcudeploy.emulator.faults import describe_fault, describe_place
from mcudeploy.emulator.layouts import UARTS, register_blocks
from mcudeploy.emulator.link import Fault, Link
from mcudeploy.emulator.peripherals import CycleCounter, Device, Registers, SystemControl, Uart
from mcudeploy.emulator.session import LinkSession
from mcudeploy.errors import EmulationError, InputError, McudeployError, ToolError
from mcudeploy.toolchain.elf import FirmwareImage, read_elf

_PAGE = 0x1000
_SLICE = 20_000_000
"""Instructions between two looks at the clock."""
_POISON = 0xA5
_END_INSTRUCTIONS = 100_000
"""More than a firmware needs from its last answer to its end."""


class UnicornEmulator:
    """The emulator `unicorn`. `compiled` False counts in Python even where a compiler is."""

    name = "unicorn"

    def __init__(self, *, compiled: bool = True) -> None:
        self._compiled = compiled

    def available(self) -> str | None:
        if importlib.util.find_spec("unicorn") is None:
            return "the Python package unicorn is not installed"
        return None

    def supports(self, board: Board) -> str | None:
        if board.core.unicorn_model is None:
            return f"Unicorn has no {board.core.name}"
        return None

    def start(
        self,
        elf: Path,
        board: Board,
        *,
        poison: bool = False,
        time_limit_seconds: float = TIME_LIMIT_SECONDS,
    ) -> LinkSession:
        reason = self.available() or self.supports(board)
        if reason:
            raise ToolError(reason, mend="`mcudeploy doctor` tells what is there")
        machine = Machine(
            read_elf(elf), board, poison=poison, compiled=self._compiled,
            time_limit_seconds=time_limit_seconds,
        )  # fmt: skip
        link = Link(machine, fault_error=machine.reported_fault)
        return LinkSession(link, finish=machine.finish)


class Machine:
    """A board with its firmware, as a stream: see `Stream` in link.py."""

    def __init__(
        self,
        image: FirmwareImage,
        board: Board,
        *,
        poison: bool = False,
        compiled: bool = True,
        time_limit_seconds: float = TIME_LIMIT_SECONDS,
    ) -> None:
        import unicorn
        from unicorn import arm_const

        from mcudeploy.emulator.counting import BlockCounter

        self._unicorn, self._arm = unicorn, arm_const
        self.image, self._board = image, board
        self._time_limit = time_limit_seconds
        self._fault: EmulationError | None = None
        self._exit_code: int | None = None
        self._engine = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB)
        self._engine.ctl_set_cpu_model(getattr(arm_const, board.core.unicorn_model or ""))
        self._map_memory(poison)
        self._load()
        code = max((s for s in image.segments if s.executable), key=lambda s: len(s.data))
        self.counter = BlockCounter(self._engine, code.data, code.load_address, compiled=compiled)
        self.uart = Uart(UARTS[board.uart.driver], self.counter.stop)
        self._map_peripherals()
        self._hook()
        self._pc = self._reset()

    # --- memory -------------------------------------------------------------------------------

    def _map_memory(self, poison: bool) -> None:
        for region in self._board.memory:
            size = -(-region.size // _PAGE) * _PAGE
            self._engine.mem_map(region.address, size, self._rights(region))
            if region.kind == "ram" and poison:
                self._engine.mem_write(region.address, bytes([_POISON]) * size)

    def _rights(self, region: MemoryRegion) -> int:
        rights: int = self._unicorn.UC_PROT_READ
        if region.kind == "ram":
            rights |= self._unicorn.UC_PROT_WRITE
        return rights | (self._unicorn.UC_PROT_EXEC if region.execute else 0)

    def _load(self) -> None:
        for segment in self.image.segments:
            if not segment.data:
                continue
            last = segment.load_address + len(segment.data)
            if not any(
                r.kind == "flash" and r.address <= segment.load_address and last <= r.end
                for r in self._board.memory
            ):
                raise InputError(
                    f"the firmware wants 0x{segment.load_address:08x} programmed, where "
                    f"{self._board.name} has no flash",
                    where=str(self.image.path),
                    mend="was it built for another board?",
                )
            self._engine.mem_write(segment.load_address, segment.data)

    def _map_peripherals(self) -> None:
        uart = self._board.uart
        blocks: list[tuple[int, int, Device]] = [
            (block.address, block.size, Registers(block)) for block in register_blocks(self._board)
        ]
        blocks.append((uart.address, UARTS[uart.driver].size, self.uart))
        blocks.append(
            (
                SystemControl.ADDRESS,
                SystemControl.SIZE,
                SystemControl(self.counter.executed, self._wrapped),
            )
        )
        if self._board.core.dwt:
            blocks.append(
                (CycleCounter.ADDRESS, CycleCounter.SIZE, CycleCounter(self.counter.executed))
            )
        pages: dict[int, list[tuple[int, int, Device]]] = {}
        for block in blocks:
            for page in range(block[0] // _PAGE, (block[0] + block[1] - 1) // _PAGE + 1):
                pages.setdefault(page * _PAGE, []).append(block)
        for page, found in pages.items():
            self._map_page(page, found)

    def _map_page(self, page: int, blocks: list[tuple[int, int, Device]]) -> None:
        """Hand accesses of a page to the devices in it; between them there is nothing."""
        slots: list[tuple[Device, int] | None] = [None] * (_PAGE // 4)
        for start, size, device in blocks:
            for address in range(max(start, page), min(start + size, page + _PAGE), 4):
                slots[(address - page) // 4] = device, address - start

        def read(engine: Any, offset: int, size: int, _: object) -> int:
            slot = slots[offset >> 2]
            if slot is None:
                self._fail("read from", page + offset)
                return 0
            device, register = slot
            value = device.read(register)
            return value if size == 4 else value >> 8 * (offset & 3)

        def write(engine: Any, offset: int, size: int, value: int, _: object) -> None:
            slot = slots[offset >> 2]
            if slot is None:
                self._fail("wrote to", page + offset)
                return
            device, register = slot
            device.write(register, value << 8 * (offset & 3))

        self._engine.mmio_map(page, _PAGE, read, None, write, None)

    # --- time ---------------------------------------------------------------------------------

    def _wrapped(self, times: int) -> None:
        """What SysTick's interrupt would have done by now."""
        if self.image.has("cycle_counter_wraps"):
            address = self.image.address_of("cycle_counter_wraps")
            self._engine.mem_write(address, times.to_bytes(4, "little"))

    # --- running ------------------------------------------------------------------------------

    def _reset(self) -> int:
        """What the core does: stack pointer and program counter from the vector table."""
        vectors = self.image.address_of("vectors")
        table = bytes(self._engine.mem_read(vectors, 8))
        self._engine.reg_write(self._arm.UC_ARM_REG_SP, int.from_bytes(table[:4], "little"))
        return int.from_bytes(table[4:], "little")

    def _hook(self) -> None:
        unicorn = self._unicorn
        self._engine.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._bad_memory)
        self._engine.hook_add(unicorn.UC_HOOK_INTR, self._exception)
        self._engine.hook_add(unicorn.UC_HOOK_INSN_INVALID, self._bad_instruction)
        end = self.image.address_of("emulation_done")
        self._engine.hook_add(unicorn.UC_HOOK_CODE, self._end, begin=end, end=end)

    def on_block(self, begin: int, end: int, call: Callable[[int], None]) -> None:
        """Call with the address of each basic block in [begin, end), just after it is counted."""

        def entered(engine: Any, address: int, size: int, _: object) -> None:
            call(address)

        self._engine.hook_add(self._unicorn.UC_HOOK_BLOCK, entered, begin=begin, end=end - 1)

    def register(self, name: str) -> int:
        """The value of a core register, e.g. `R0`."""
        return int(self._engine.reg_read(getattr(self._arm, f"UC_ARM_REG_{name}")))

    def _end(self, engine: Any, address: int, size: int, _: object) -> None:
        self._exit_code = self._engine.reg_read(self._arm.UC_ARM_REG_R0)
        self.counter.stop()

    def _bad_memory(
        self, engine: Any, access: int, address: int, size: int, value: int, _: object
    ) -> bool:
        unicorn = self._unicorn
        verbs = {
            unicorn.UC_MEM_WRITE_UNMAPPED: "wrote to",
            unicorn.UC_MEM_WRITE_PROT: "wrote to",
            unicorn.UC_MEM_FETCH_UNMAPPED: "ran code at",
            unicorn.UC_MEM_FETCH_PROT: "ran code at",
        }
        self._fail(verbs.get(access, "read from"), address, precise=True)
        return False

    def _exception(self, engine: Any, number: int, _: object) -> None:
        self._record(f"the firmware raised an exception (number {number})", precise=True)

    def _bad_instruction(self, engine: Any, _: object) -> bool:
        self._record(f"{self._board.core.name} has no such instruction", precise=True)
        return False

    def _fail(self, verb: str, address: int, *, precise: bool = False) -> None:
        place = self._place(address)
        problem = f"the firmware {verb} 0x{address:08x}, {place}"
        self._record(problem, precise=precise)

    def _place(self, address: int) -> str:
        """What is at an address that was not to be accessed."""
        bottom = self.image.address_of("stack_bottom")
        sp = self._engine.reg_read(self._arm.UC_ARM_REG_SP)
        if sp < bottom and bottom - 0x10000 <= address < bottom:
            size = self.image.address_of("stack_top") - bottom
            return f"below the stack of {size:,} bytes: it overflowed"
        for region in self._board.memory:
            if region.address <= address < region.end:
                return f"which is in {region.name} and allows no such access"
        if 0x40000000 <= address < 0x60000000:
            return "a peripheral that the firmware is not expected to use"
        return f"where {self._board.name} has no memory"

    def _record(self, problem: str, *, precise: bool) -> None:
        if self._fault is None:
            pc = self._engine.reg_read(self._arm.UC_ARM_REG_PC) if precise else 0
            self._fault = EmulationError(problem, where=self._where(pc))
        self.counter.stop()
        if precise:
            self._engine.emu_stop()

    def _where(self, pc: int = 0) -> str:
        """The function at `pc`, else of the last block that ran, and the one that called it."""
        named = pc if self.image.function_at(pc) else self.counter.block_address
        return describe_place(self.image, named, self._engine.reg_read(self._arm.UC_ARM_REG_LR))

    def _run(self) -> None:
        """Run until the firmware has sent what it has to and waits, or ended."""
        deadline = time.monotonic() + self._time_limit
        self.counter.run_limit(_SLICE)
        while self._exit_code is None:
            try:
                self._engine.emu_start(self._pc | 1, 0xFFFFFFFF)
            except self._unicorn.UcError as error:
                self._record(f"the emulator stopped: {error}", precise=True)
            self._pc = self._engine.reg_read(self._arm.UC_ARM_REG_PC)
            if self._fault is not None:
                raise self._fault
            if not self.counter.limit_reached:
                return
            if time.monotonic() > deadline:
                raise EmulationError(
                    f"the firmware hangs: no answer in {self._time_limit:g} seconds",
                    where=self._where(self._pc),
                )
            self.counter.run_limit(_SLICE)

    # --- the stream ---------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        self.uart.received.extend(data)

    def read(self, timeout_seconds: float) -> bytes:
        """Time means nothing here: the firmware runs until it waits for input."""
        self._run()
        sent = bytes(self.uart.sent)
        self.uart.sent.clear()
        return sent

    def finish(self) -> None:
        """Let the firmware come to its end. Raises EmulationError when it does not, or not well."""
        self.counter.run_limit(_END_INSTRUCTIONS)
        if self._exit_code is None:
            self._run()
        if self._exit_code is None:
            raise EmulationError(
                "the firmware was told to end and did not", where=self._where(self._pc)
            )
        if self._exit_code != 0:
            raise EmulationError(f"the firmware ended with status {self._exit_code}")

    def close(self) -> None:
        self._engine.emu_stop()

    def reported_fault(self, fault: Fault) -> McudeployError:
        return describe_fault(fault, self.image)
