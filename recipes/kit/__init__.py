# SPDX-License-Identifier: Apache-2.0
"""What all recipes share: data, runs and their results, the daemon, tables and curves."""
