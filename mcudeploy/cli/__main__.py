# SPDX-License-Identifier: Apache-2.0
"""`python -m mcudeploy.cli` is the command `mcudeploy`."""

from mcudeploy.cli import main

main()
