#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Makes a checkout ready to run, and does only what is not done yet:
#   1. Debian or Ubuntu packages, where a tool is missing;
#   2. a virtual environment in .venv with mcudeploy (editable) and all it needs;
#   3. the CMSIS-NN source in the user's cache.
# A tool that is there already, from wherever, is left alone.
set -eu
cd "$(dirname "$0")/.."
venv=.venv

say() { printf '%s\n' "== $*"; }
fail() { printf '%s\n' "setup: $*" >&2; exit 2; }
has() { command -v "$1" >/dev/null 2>&1; }

# --- 1. system packages ---------------------------------------------------------------------------

python=${PYTHON:-}
if [ -z "$python" ]; then
    for candidate in python3 python3.13 python3.12 python3.11; do
        if has "$candidate" &&
            "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
        then
            python=$candidate
            break
        fi
    done
fi
[ -n "$python" ] || fail "Python 3.11, 3.12 or 3.13 is needed (TensorFlow has no other); set PYTHON to one"

# Without the packages of the first list nothing can be built; without those of the second fewer
# emulators run, and slower.
needed= wanted=
arm_newlib() { [ -f "$(arm-none-eabi-gcc -print-file-name=libc_nano.a)" ]; }
host_compiles() {
    has gcc && printf '#include <stdio.h>\n' | gcc -x c -fsyntax-only - >/dev/null 2>&1
}
has arm-none-eabi-gcc || needed="$needed gcc-arm-none-eabi"
{ has arm-none-eabi-gcc && arm_newlib; } || needed="$needed libnewlib-arm-none-eabi"
if ! [ -x "$venv/bin/python" ] && ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    needed="$needed python3-venv"
fi
host_compiles || wanted="$wanted gcc libc6-dev"
has qemu-system-arm || wanted="$wanted qemu-system-arm"

# Why the packages cannot be installed; empty when they can.
hindrance=
as_root=
if ! has apt-get; then
    hindrance="this system has no apt-get; install by hand what Debian calls"
elif [ "$(id -u)" != 0 ]; then
    as_root=sudo
    # Without a terminal sudo must not ask for a password.
    [ -t 0 ] || as_root="sudo -n"
    if ! has sudo || { ! [ -t 0 ] && ! sudo -n true 2>/dev/null; }; then
        hindrance="this is not root and sudo is not to be had; as root run
  apt-get install -y --no-install-recommends"
    fi
fi

if [ -n "$needed$wanted" ] && [ -n "$hindrance" ]; then
    [ -z "$needed" ] || fail "packages are missing and $hindrance$needed$wanted"
    say "going on without some packages: $hindrance$wanted"
elif [ -n "$needed$wanted" ]; then
    say "installing from Debian:$needed$wanted"
    install="env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends"
    # The index is fetched only when what lies here does not serve.
    # shellcheck disable=SC2086  # the lists are meant to be split
    $as_root $install $needed $wanted </dev/null >/dev/null 2>&1 ||
        { $as_root apt-get update -qq </dev/null && $as_root $install $needed $wanted </dev/null; } ||
        fail "apt-get failed to install$needed$wanted; install them by hand, then try again"
fi

# --- 2. the virtual environment -------------------------------------------------------------------

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    say "making the virtual environment $venv"
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi
say "installing mcudeploy and what it needs into $venv (TensorFlow is large: minutes the first time)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[dev]' </dev/null

# --- 3. CMSIS-NN ----------------------------------------------------------------------------------

"$venv/bin/python" -m mcudeploy.toolchain.cmsis_nn

touch "$venv/.ready"
say "ready; \`$venv/bin/mcudeploy doctor\` shows what is installed"
