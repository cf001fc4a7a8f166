# SPDX-License-Identifier: Apache-2.0
"""Ranking of documents by their features."""
