# SPDX-License-Identifier: Apache-2.0
"""Retrieval of characters of unseen alphabets."""
