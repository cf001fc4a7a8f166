# SPDX-License-Identifier: Apache-2.0
"""Without the CUDA toolkit or a device, the targets that need them say so and succeed."""
import subprocess

from conftest import BUILD

ROOT = BUILD
while not (ROOT / "Makefile").exists():
    ROOT = ROOT.parent


def make(*arguments):
    return subprocess.run(["make", f"BUILD={BUILD}", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_without_the_toolkit_no_plugin_is_built_and_that_is_said():
    done = make("cuda", "NVCC=/nowhere/nvcc")
    assert done.returncode == 0 and "/nowhere/nvcc is not here, so build/rankd-cuda.so is not built" in done.stdout


def test_the_benchmark_builds_the_plugin_only_where_there_is_a_device(tmp_path):
    toolkit = f"NVCC={tmp_path / 'nvcc'}"
    (tmp_path / "nvcc").write_text("")
    (tmp_path / "nvcc").chmod(0o755)
    commands = {node: make("--dry-run", "bench-gpu", toolkit, f"BUILD={tmp_path}", f"DEVICE_NODE={node}")
                for node in ("/nowhere/device", "/dev/null")}
    assert all(done.returncode == 0 for done in commands.values()), commands
    built = {node: f"{tmp_path / 'nvcc'} -shared" in done.stdout for node, done in commands.items()}
    assert built == {"/nowhere/device": False, "/dev/null": True}


def test_without_a_device_its_tests_say_that_they_were_skipped():
    program = BUILD / "gpu-check"
    done = subprocess.run([program, "/nowhere/rankd-cuda.so"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 77 and done.stdout.startswith("skipped: no device can be used without its plugin")
    if not (BUILD / "rankd-cuda.so").exists():
        done = subprocess.run([ROOT / "tests/gpu/run.sh", BUILD], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and "0 passed, 0 failed (skipped: no device here)" in done.stdout
