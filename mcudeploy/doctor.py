# SPDX-License-Identifier: Apache-2.0
"""What is installed, what is missing, and the one command that mends each.

Every check answers for one tool in a second or two and changes nothing. Packages with native code
are loaded in child processes, for a library that does not suit the processor kills the process that
loads it; the children run side by side. TensorFlow's own libraries are loaded without its Python
code, which takes many times as long.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from mcudeploy.codegen.renode_release import RENODE
from mcudeploy.errors import McudeployError
from mcudeploy.toolchain import cmsis_nn
from mcudeploy.toolchain.compiler import find_compiler, how_to_install
from mcudeploy.toolchain.packages import installed_version, pip_command
from mcudeploy.toolchain.platformio import core_folder

State = Literal["ok", "missing", "broken", "unavailable"]

_CHILD_SECONDS = 20
_LOAD_TENSORFLOW = """
import ctypes, importlib.util, pathlib
folder = pathlib.Path(importlib.util.find_spec("tensorflow").submodule_search_locations[0])
for pattern in ("*tensorflow_framework*.so*", "*tensorflow_framework*.dylib",
                "*tensorflow_cc*.so*", "*tensorflow_cc*.dylib"):
    for library in sorted(folder.glob(pattern)):
        ctypes.CDLL(str(library))
"""


@dataclass(frozen=True)
class Check:
    """The state of one tool.

    `ok`; `missing`: not installed; `broken`: there, but wrong (its version, its libraries);
    `unavailable`: cannot be had on this system. `needed_for` says what does not work without it;
    `required` is true when that is the way from a model to tested firmware. `mend` is one command,
    empty when nothing is to be done.
    """

    name: str
    state: State
    detail: str
    needed_for: str
    required: bool
    mend: str = ""


def doctor() -> tuple[Check, ...]:
    """All checks, in the order in which a user meets the tools. Takes less than three seconds."""
    checks: tuple[Callable[[], Check], ...] = (
        _python,
        _tensorflow,
        _keras_2,
        _tflite_micro,
        _litert,
        _unicorn,
        _cmsis_nn,
        _compiler,
        _platformio,
        _host_compiler,
        _qemu,
        _renode,
    )
    with ThreadPoolExecutor(len(checks)) as pool:
        return tuple(pool.map(lambda check: check(), checks))


def _python() -> Check:
    version = platform.python_version()
    right = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Check(
        "Python",
        "ok" if right else "broken",
        f"{version}, {platform.machine()}",
        "everything (TensorFlow exists for 3.11 to 3.13)",
        required=True,
        mend="" if right else _system_package("python3", "python@3.13", "Python.Python.3.13"),
    )


def _tensorflow() -> Check:
    return _package("tensorflow", "TensorFlow", "Keras and SavedModel input", load=_LOAD_TENSORFLOW)


def _keras_2() -> Check:
    return _package("tf-keras", "tf-keras", ".h5 files of Keras 2", load="")


def _tflite_micro() -> Check:
    purpose = "the golden reference that firmware is compared with"
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return Check(
            "tflite-micro",
            "unavailable",
            "exists for Linux on x86-64 only",
            purpose,
            required=False,
        )
    load = "from tflite_micro import runtime"
    return _package("tflite-micro", "tflite-micro", purpose, load=load)


def _litert() -> Check:
    load = "from ai_edge_litert import interpreter"
    return _package("ai-edge-litert", "LiteRT", "the desktop interpreter, shown beside", load=load)


def _unicorn() -> Check:
    load = "import unicorn; unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB)"
    return _package("unicorn", "Unicorn", "the built-in emulator", load=load)


def _package(distribution: str, name: str, purpose: str, *, load: str) -> Check:
    """Is the distribution installed, and does the Python text `load` run in a child process?"""
    version = installed_version(distribution)
    if version is None:
        mend = pip_command(distribution)
        return Check(name, "missing", "not installed", purpose, required=True, mend=mend)
    if load and (failure := _fails(load)):
        detail = f"{version} does not load: {failure}"
        mend = pip_command(distribution)
        return Check(name, "broken", detail, purpose, required=True, mend=mend)
    return Check(name, "ok", version, purpose, required=True)


def _fails(program: str) -> str:
    """What went wrong when a child process ran the Python text; empty when nothing did."""
    variables = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    status, output = _run([sys.executable, "-c", program], variables)
    if status == 0:
        return ""
    if status < 0:
        return f"it kills its process (signal {-status})"
    return (output.strip().splitlines() or ["no reason given"])[-1]


def _cmsis_nn() -> Check:
    purpose = "the kernels"
    own = os.environ.get("MCUDEPLOY_CMSIS_NN")
    if cmsis_nn.available():
        detail = f"commit {cmsis_nn.COMMIT} in {own or 'the cache'}, verified"
        return Check("CMSIS-NN", "ok", detail, purpose, required=True)
    if own:
        detail = f"MCUDEPLOY_CMSIS_NN={own} is not commit {cmsis_nn.COMMIT}"
        mend = "unset MCUDEPLOY_CMSIS_NN"
        return Check("CMSIS-NN", "broken", detail, purpose, required=True, mend=mend)
    mend = f"{sys.executable} -m mcudeploy.toolchain.cmsis_nn"
    detail = "not fetched yet; the first firmware fetches it"
    return Check("CMSIS-NN", "missing", detail, purpose, required=True, mend=mend)


def _compiler() -> Check:
    purpose = "building firmware"
    name = "Arm GCC with newlib-nano"
    try:
        compiler = find_compiler()
    except McudeployError as error:
        state: State = "broken" if error.where else "missing"
        return Check(name, state, error.problem, purpose, required=True, mend=how_to_install())
    return Check(name, "ok", f"{compiler.version_text}, {compiler.path}", purpose, required=True)


def _platformio() -> Check:
    name, purpose = "PlatformIO with SCons", "building firmware"
    try:
        core_folder()
    except McudeployError as error:
        state: State = "missing" if "not installed" in error.problem else "broken"
        return Check(name, state, error.problem, purpose, required=True, mend=error.mend)
    versions = f"{installed_version('platformio')} with {installed_version('scons')}"
    return Check(name, "ok", versions, purpose, required=True)


def _host_compiler() -> Check:
    name, purpose = "C compiler of this machine", "counting instructions at full speed"
    found = next((path for c in ("cc", "gcc", "clang") if (path := shutil.which(c))), None)
    if found:
        return Check(name, "ok", found, purpose, required=False)
    mend = _system_package("gcc libc6-dev", "gcc", "LLVM.LLVM")
    return Check(name, "missing", "not installed", purpose, required=False, mend=mend)


def _qemu() -> Check:
    name, purpose = "QEMU", "the emulator `qemu`"
    mend = _system_package("qemu-system-arm", "qemu", "SoftwareFreedomConservancy.QEMU")
    return _program(name, "qemu-system-arm", purpose, mend, oldest=(7,))


def _renode() -> Check:
    oldest = tuple(map(int, RENODE.version.split(".")))
    return _program("Renode", "renode", "the emulator `renode`", _get_renode(), oldest=oldest)


def _get_renode() -> str:
    """The command that fetches Renode, checks its hash, unpacks it and puts it on the PATH."""
    releases = f"https://github.com/renode/renode/releases/tag/v{RENODE.version}"
    if sys.platform != "linux":
        return f"install Renode {RENODE.version} from {releases} and put its folder on PATH"
    address, sha256 = RENODE.archive(platform.machine())
    return (
        f"curl -fsSL -o /tmp/renode.tar.gz {address} && "
        f'echo "{sha256}  /tmp/renode.tar.gz" | sha256sum --check && '
        "mkdir -p ~/.local/renode ~/.local/bin && "
        "tar xf /tmp/renode.tar.gz -C ~/.local/renode --strip-components=1 && "
        "ln -sf ~/.local/renode/renode ~/.local/renode/renode-test ~/.local/bin/"
    )


def _program(name: str, program: str, purpose: str, mend: str, *, oldest: tuple[int, ...]) -> Check:
    """An optional program: is it there, does it run, is it new enough?"""
    path = shutil.which(program)
    if path is None:
        return Check(name, "missing", "not installed", purpose, required=False, mend=mend)
    _, output = _run([path, "--version"], dict(os.environ))
    match = re.search(r"\d+(?:\.\d+)+", output)
    if match is None:
        return Check(name, "broken", f"{path} does not run", purpose, required=False, mend=mend)
    if tuple(map(int, match[0].split("."))) < oldest:
        detail = f"{match[0]} is older than {'.'.join(map(str, oldest))}"
        return Check(name, "broken", detail, purpose, required=False, mend=mend)
    return Check(name, "ok", f"{match[0]}, {path}", purpose, required=False)


def _run(command: list[str], variables: dict[str, str]) -> tuple[int, str]:
    """Exit code (negative: the signal) and all output of a program; 1 when it cannot start."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=variables,
            text=True,
            errors="replace",
            timeout=_CHILD_SECONDS,
            check=False,
        )
    except OSError as error:
        return 1, str(error.strerror)
    except subprocess.TimeoutExpired:
        return 1, f"no answer in {_CHILD_SECONDS} s"
    return done.returncode, done.stdout


def _system_package(debian: str, brew: str, winget: str) -> str:
    if sys.platform == "darwin":
        return f"brew install {brew}"
    if sys.platform == "win32":
        return f"winget install {winget}"
    return f"sudo apt-get install {debian}"
