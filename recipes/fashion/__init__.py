# SPDX-License-Identifier: Apache-2.0
"""Retrieval of clothes, of known kinds and of kinds never seen."""
