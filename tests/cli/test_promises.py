"""The promises of the README that no other test states whole; the command line as a user types it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import Workplace
from running import COMMAND, interrupt, liquidgen

# Every attempt to reach another machine ends the process.
NO_NETWORK = """
import os, socket, sys

def refuse(*arguments, **options):
    sys.stderr.write("reached for the network: %r\\n" % (arguments,))
    sys.stderr.flush()
    os._exit(99)

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
"""


@pytest.fixture
def trained(workplace: Workplace) -> Path:
    """The folder of a run."""
    return workplace.run


@pytest.mark.slow
def test_the_quick_demo_needs_no_network(tmp_path: Path) -> None:
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(NO_NETWORK)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    done = subprocess.run(
        [*COMMAND, "demo", "--quick"],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(tmp_path / "guard")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "grid.png" in done.stderr.splitlines()[-1]


def test_the_guard_against_the_network_works(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)
    done = subprocess.run(
        [sys.executable, "-c", "import socket; socket.create_connection(('127.0.0.1', 9))"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
    )
    assert done.returncode == 99


def test_training_refuses_a_damaged_cache_and_the_named_command_repairs_it(tmp_path: Path) -> None:
    made = liquidgen(
        tmp_path, "cache", "abstract", "--vae", "pixels", "--image-size", 16, "--max-images", 64
    )
    assert made.code == 0, made.stderr
    (shard,) = tmp_path.glob("cache/*/shard-00000.safetensors")
    content = bytearray(shard.read_bytes())
    whole = bytes(content)
    content[-1] ^= 1  # one bit
    shard.write_bytes(content)
    options = ("train", "--size", "XS", "--steps", 2, "--batch-size", 4, "--device", "cpu")
    refused = liquidgen(tmp_path, *options)
    assert refused.code == 1
    error, hint = refused.stderr.splitlines()[-2:]
    assert shard.name in error
    assert "liquidgen cache abstract" in hint
    assert not (tmp_path / "runs").exists()
    command = hint.split("`")[1].split()
    assert liquidgen(tmp_path, *command[1:]).code == 0
    assert shard.read_bytes() == whole
    assert liquidgen(tmp_path, *options).code == 0


def test_sampling_goes_on_after_a_kill_with_the_same_bytes(trained: Path, tmp_path: Path) -> None:
    options = ("sample", trained, "--num", 80, "--steps", 4, "--device", "cpu")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert liquidgen(tmp_path, *options, "--out", whole).code == 0

    def some_are_there() -> bool:
        return len(list(broken.glob("0*.png"))) >= 3

    interrupt(tmp_path, signal.SIGKILL, some_are_there, *options, "--out", broken)
    finished = {path: path.stat().st_mtime_ns for path in broken.glob("0*.png")}
    assert len(finished) < 80
    assert liquidgen(tmp_path, *options, "--out", broken).code == 0
    names = sorted(path.name for path in whole.glob("*.png"))
    assert len(names) == 81
    assert all((whole / name).read_bytes() == (broken / name).read_bytes() for name in names)
    assert all(path.stat().st_mtime_ns == time for path, time in finished.items())


def test_no_weights_file_that_can_run_code_is_read(trained: Path, tmp_path: Path) -> None:
    """A pickle that would leave a trace stands in for the weights of a model and of a checkpoint."""
    trace = tmp_path / "trace"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {trace}",)

    trap = tmp_path / "trap"
    torch.save({"weights": Trap()}, trap)
    model = tmp_path / "model"
    model.mkdir()
    for file in (trained / "model").iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    weights = model / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(trap.read_bytes())
    assert liquidgen(tmp_path, "sample", model, "--num", 1, "--steps", 1).code == 1
    weights.unlink()
    (model / "diffusion_pytorch_model.bin").write_bytes(trap.read_bytes())
    assert liquidgen(tmp_path, "sample", model, "--num", 1, "--steps", 1).code == 1
    assert not trace.exists()


def test_two_processes_train_on_the_batches_of_one(tmp_path: Path) -> None:
    """Gradients are averaged over `accelerate` processes; every process sees its own share."""
    made = liquidgen(
        tmp_path, "cache", "abstract", "--vae", "pixels", "--image-size", 16, "--max-images", 64
    )
    assert made.code == 0, made.stderr
    launch = ["accelerate.commands.launch", "--cpu", "--num_processes", "2", "-m", "liquidgen"]
    options = "train --size XS --steps 3 --batch-size 4 --device cpu --out run --sample-every 0"
    done = subprocess.run(
        [sys.executable, "-m", *launch, *options.split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert liquidgen(tmp_path, "sample", "run", "--num", 1, "--steps", 1).code == 0
