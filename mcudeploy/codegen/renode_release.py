# SPDX-License-Identifier: Apache-2.0
"""The release of Renode that projects are written for, by version and hash."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RenodeRelease:
    """A version of Renode, and its portable archives for Linux by SHA-256."""

    version: str
    sha256: str
    sha256_arm64: str

    def archive(self, machine: str) -> tuple[str, str]:
        """Address and SHA-256 of the archive for `machine` (x86_64; aarch64 or arm64)."""
        arm = machine in ("aarch64", "arm64")
        name = f"renode-{self.version}.linux-{'arm64-' if arm else ''}portable-dotnet.tar.gz"
        address = f"https://github.com/renode/renode/releases/download/v{self.version}/{name}"
        return address, self.sha256_arm64 if arm else self.sha256


RENODE = RenodeRelease(
    "1.16.1",
    "00e113cdbd0f5354cf2f64bbe3f5a070d8958409542fca66e45ac97d982938c0",
    "fff3a098c96ed0a4ffbdff3f028c9c5fde432db09587c7bd7c99406180f90007",
)
