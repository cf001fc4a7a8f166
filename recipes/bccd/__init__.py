# SPDX-License-Identifier: Apache-2.0
"""Detection of blood cells."""
