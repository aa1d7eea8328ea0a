# SPDX-License-Identifier: Apache-2.0
"""Takes Renode's place in tests: the same command line, script, port, log and verdict line.

The firmware runs on Unicorn behind the port. MODE in the environment makes it misbehave as Renode
does: `silent-end` (status 0, no verdict), `abort` (CPU abort in the log, then nothing for ever),
`no-port` (the script was aborted: it lives and listens nowhere), `port-taken` (that, where the port
is TAKEN_PORT), `hang`, `unexpected` (accesses to nothing), `status` (the firmware ends with 3),
`dies` (in mid-run).
"""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from pathlib import Path

from mcudeploy.board import find_board
from mcudeploy.emulator.unicorn import Machine
from mcudeploy.toolchain.elf import read_elf

MODE = os.environ.get("MODE", "")
BAD_ACCESS = "[WARNING] sysbus: ReadDoubleWord from non existing peripheral at 0x40010000."


def main() -> None:
    arguments = sys.argv[1:]
    assert {"--plain", "--disable-xwt", "--hide-log", "--config"} <= set(arguments)
    command = arguments[arguments.index("-e") + 1]
    script = Path(command.removeprefix("include @")).read_text(encoding="utf-8")
    log = Path(re.search(r"^logFile @(\S+) true$", script, re.MULTILINE)[1])
    elf = Path(re.search(r"^sysbus LoadELF @(\S+)$", script, re.MULTILINE)[1])
    port = int(re.search(r'CreateServerSocketTerminal (\d+) "term" false$', script, re.M)[1])
    name = re.search(r'^mach create "(\S+)"$', script, re.MULTILINE)[1]
    log.write_text("09:51:05.0 [INFO] Loaded\n")
    if MODE == "no-port" or (MODE == "port-taken" and os.environ["TAKEN_PORT"] == str(port)):
        time.sleep(600)
    serve(Machine(read_elf(elf), find_board(name)), port, log)


def serve(machine: Machine, port: int, log: Path) -> None:
    with socket.create_server(("127.0.0.1", port)) as server:
        connection, _ = server.accept()
    served = 0
    while machine._exit_code is None:
        data = connection.recv(65536)
        if MODE == "hang":
            continue
        if MODE == "abort":
            log.write_text("09:51:06.0 [ERROR] cpu: CPU abort [PC=0x20000000]: Trying to execute\n")
            time.sleep(600)
        machine.write(data)
        connection.sendall(machine.read(1))
        served += 1
        if MODE == "dies" and served > 5:
            os._exit(0)
    if MODE == "silent-end":
        return
    if MODE == "unexpected":
        log.write_text(BAD_ACCESS + "\n")
    code, unexpected = 3 if MODE == "status" else 0, 1 if MODE == "unexpected" else 0
    count = machine.counter.instructions
    print(f"EXIT code={code} unexp={unexpected} insns={count}", flush=True)
    sys.exit(code or (100 if unexpected else 0))


if __name__ == "__main__":
    main()
