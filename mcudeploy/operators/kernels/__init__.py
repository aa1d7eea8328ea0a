# SPDX-License-Identifier: Apache-2.0
"""Our own kernels as `Implementation`s: one file per family in firmware/kernels/."""
