#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The engine on a device against the CPU engine, then in short under compute-sanitizer. Where there
# is no device or no plugin it says so and is content: the same tests run wherever one is.
#   tests/gpu/run.sh BUILD
set -u
build=$1
"$build/gpu-check" "$build/rankd-cuda.so" "${GPU_RUNS:-300}" "${GPU_SEED:-1}"
status=$?
[ $status = 77 ] && { echo "0 passed, 0 failed (skipped: no device here)"; exit 0; }
[ $status = 0 ] || exit $status
if python3 -c 'import pytest, torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
    RANKD_BUILD=$build PYTHONPATH=clients/python python3 -m pytest -q -p no:cacheprovider tests/gpu || exit 1
else
    echo "no PyTorch with a device here: tests/gpu/test_cuda_tensors.py is not run"
fi
command -v compute-sanitizer >/dev/null || { echo "compute-sanitizer is not here: not run under it"; exit 0; }
for tool in memcheck racecheck; do
    echo "under $tool:"
    compute-sanitizer --tool "$tool" --error-exitcode 1 --print-limit 20 \
        "$build/gpu-check" "$build/rankd-cuda.so" "${GPU_SANITIZER_RUNS:-12}" 7 || exit 1
done
