# SPDX-License-Identifier: Apache-2.0
"""A tour of mcudeploy from Python, cell by cell: editors that know `# %%` run them one at a time.

python examples/tour.py MODEL.tflite
"""

# %% Does it fit, and where is the peak?
from __future__ import annotations

import sys
from pathlib import Path

import mcudeploy

model = Path(sys.argv[1])
report = mcudeploy.fit(model, "stm32f469")
print(report.verdict)
print(f"peak: {report.certificate.peak_bytes:,} bytes at #{report.peak.index} {report.peak.kind}")

# %% How far is that from what is possible at all? The plan carries its proof.
print(f"proven bound: {report.certificate.lower_bound_bytes:,} bytes")

# %% The operators that the most bytes are live at
for row in sorted(report.operators, key=lambda row: -row.live_bytes)[:3]:
    print(f"  #{row.index} {row.kind}: {row.live_bytes:,} bytes, {row.macs:,} MACs")

# %% The least RAM that it fits, by bisection over pretended boards
low, high = 0, 320
while high - low > 1:
    middle = (low + high) // 2
    if mcudeploy.fit(model, "stm32f469", ram=f"{middle}K").fits:
        high = middle
    else:
        low = middle
print(f"fits {high} KiB of RAM, not {low}")

# %% The same network on every board
for board in mcudeploy.boards():
    verdict = mcudeploy.fit(model, board)
    margins = ", ".join(f"{r.region} {r.margin_bytes:+,}" for r in verdict.regions)
    print(f"  {board.name:<20} {'fits' if verdict.fits else 'does not fit'}: {margins}")

# %% The network's graph is a value, too
deployment = mcudeploy.prepare(model, "stm32f469")
print("\n".join(str(deployment.graph).splitlines()[:4]))
