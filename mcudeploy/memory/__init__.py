# SPDX-License-Identifier: Apache-2.0
"""Memory planning: which kernel, in which order, and the address of every buffer, with a proof."""
