"""`liquidgen cache` as a user types it, in processes that are killed, stopped and multiplied."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from making import write_pictures

MakeFolder = Callable[..., Path]
LIQUIDGEN = [sys.executable, "-m", "liquidgen"]


def start(words: list[str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        words, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def liquidgen(line: str, folder: Path) -> tuple[int, str, str]:
    """Run a command line; returns its exit code, stdout and stderr."""
    process = start([*LIQUIDGEN, *shlex.split(line)], folder)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@dataclass(frozen=True)
class Work:
    """A folder with a source in it, the command line that caches it, and what comes of that."""

    folder: Path
    line: str  # 120 pictures, 30 shards of 4
    unbroken: dict[str, bytes]  # the files of a run that nothing interrupted

    @property
    def cache(self) -> Path:
        return self.folder / "cache" / "pets-64-small"

    def begin(self) -> subprocess.Popen[str]:
        """Start to cache from nothing."""
        shutil.rmtree(self.cache, ignore_errors=True)
        return start([*LIQUIDGEN, *shlex.split(self.line)], self.folder)

    def on_two_processes(self) -> str:
        """Run the command line on two processes; returns stdout."""
        launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "-m"]
        words = ["liquidgen", *shlex.split(self.line), "--json"]
        process = start([sys.executable, *launch, *words], self.folder)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        return out


@pytest.fixture(scope="module")
def work(vae_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Work:
    folder = tmp_path_factory.mktemp("work")
    write_pictures(folder / "pets", 60, ("cats", "dogs"))
    line = f"cache pets --vae {vae_folder} --image-size 64 --shard-images 4"
    assert liquidgen(line, folder)[0] == 0
    return Work(folder, line, contents(folder / "cache" / "pets-64-small"))


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_was_ended_in_the_middle_leaves_the_bytes_of_an_unbroken_one(
    work: Work, sent: signal.Signals
):
    process = work.begin()
    wait_for(work.cache / "shard-00002.safetensors", process)
    process.send_signal(sent)
    _, err = process.communicate(timeout=60)
    if sent == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130
        assert "what is done is saved" in err
        assert "Traceback" not in err
    assert not (work.cache / "shard-00029.safetensors").exists()
    code, out, err = liquidgen(f"{work.line} --json", work.folder)
    assert code == 0, err
    assert json.loads(out)["shards_kept"] >= 2
    assert contents(work.cache) == work.unbroken


@pytest.mark.slow
def test_two_processes_leave_the_bytes_of_one(work: Work):
    shutil.rmtree(work.cache)
    assert json.loads(work.on_two_processes())["shards_made"] == 30
    assert contents(work.cache) == work.unbroken


@pytest.mark.slow
def test_two_processes_finish_what_one_began(work: Work):
    process = work.begin()
    wait_for(work.cache / "shard-00001.safetensors", process)
    process.kill()
    process.communicate()
    assert json.loads(work.on_two_processes())["shards_kept"] >= 1
    assert contents(work.cache) == work.unbroken


def test_the_only_thing_on_stdout_is_one_json_object(
    make_folder: MakeFolder, vae_folder: Path, tmp_path: Path
):
    make_folder(3)
    line = f"cache pets --vae {vae_folder} --image-size 64 --json"
    code, out, err = liquidgen(line, tmp_path)
    assert code == 0
    assert json.loads(out) == {
        "cache": "cache/pets-64-small",
        "count": 6,
        "skipped": 0,
        "classes": ["cats", "dogs"],
        "image_size": 64,
        "latent_shape": [4, 8, 8],
        "bytes": (tmp_path / "cache/pets-64-small/shard-00000.safetensors").stat().st_size,
        "shards": 1,
        "shards_made": 1,
        "shards_kept": 0,
        "vae": str(vae_folder),
        "fingerprint": json.loads(out)["fingerprint"],
    }
    assert "6 latents" in err
    code, out, err = liquidgen(line.removesuffix(" --json"), tmp_path)
    assert (code, out) == (0, "")
    assert "nothing to encode" in err


RunLine = Callable[[str], tuple[int, str, str]]


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("cache ./gone", "no file or folder ./gone", "path"),
        ("cache empty", "no pictures in empty", ".png"),
        ("cache broken", "none of the 3 pictures", "image viewer"),
        ("cache paintngs", "no preset or folder paintngs", "paintings"),
        ("cache abstract --vae fluxx", "no autoencoder fluxx", "flux"),
        ("cache abstract --vae empty", "empty is no autoencoder", "diffusers folder"),
        ("cache abstract --vae pixels --device tpu", "no device tpu", "cuda"),
        ("cache notes.txt", "notes.txt is a file", ".parquet"),
        ("cache mine.toml", "mine.toml: licence", "repository"),
        ("cache abstract --vae pixels --split train", "--split means nothing", "leave --split out"),
        ("cache abstract --vae pixels --out empty/notes.txt/x", "Not a directory", "--debug"),
        ("verify gone", "there is no cache gone", "liquidgen cache"),
    ],
)
def test_bad_input_is_one_line_and_a_hint_and_nothing_is_left(
    run_line: RunLine, tmp_path: Path, line: str, message: str, hint: str
):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    for name in ("a.png", "b.jpg", "c.webp"):
        (tmp_path / "broken" / name).write_text("junk")
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "empty" / "notes.txt").write_text("notes")
    (tmp_path / "mine.toml").write_text('repository = "a/b"')
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run_line(line)
    assert code == 1
    assert out == ""
    lines = err.strip().splitlines()
    assert lines[-2].startswith("error: ")
    assert lines[-1].startswith("hint: ")
    assert message in lines[-2]
    assert hint in lines[-1]
    assert "Traceback" not in err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("--image-size 3", "--image-size"),
        ("--shard-images 0", "--shard-images"),
        ("--max-images 0", "--max-images"),
        ("--batch-size -1", "--batch-size"),
        ("--dtype int4", "--dtype"),
        ("--nonsense", "--nonsense"),
    ],
)
def test_wrong_usage_exits_2_and_names_the_option(run_line: RunLine, options: str, named: str):
    code, out, err = run_line(f"cache abstract {options}")
    assert (code, out) == (2, "")
    assert named in err


def test_debug_shows_the_whole_story(tmp_path: Path):
    code, _, err = liquidgen("cache --debug ./gone", tmp_path)
    assert code == 1
    assert "Traceback" in err
    assert "./gone" in err


def test_the_stored_command_repairs_without_starting_over(run_line: RunLine, tmp_path: Path):
    line = "cache abstract --vae pixels --image-size 16 --max-images 6 --shard-images 2"
    assert run_line(f"{line} --overwrite --json")[0] == 0
    folder = tmp_path / "cache" / "abstract-16-pixels"
    assert json.loads((folder / "manifest.json").read_text())["command"] == f"liquidgen {line}"
    (folder / "shard-00001.safetensors").write_bytes(b"")
    assert json.loads(run_line(f"{line} --json")[1])["shards_made"] == 1


def test_help_is_instant():
    """Under 0.25 s of a processor's time, and without the libraries that take seconds."""
    times = []
    for _ in range(3):
        before = os.times()
        subprocess.run([*LIQUIDGEN, "--help"], check=True, capture_output=True)
        after = os.times()
        used = after.children_user + after.children_system
        times.append(used - before.children_user - before.children_system)
    assert min(times) < 0.25
    script = "import sys, liquidgen.cli.app; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    heavy = {"torch", "diffusers", "datasets", "PIL", "pydantic", "numpy", "accelerate", "rich"}
    assert not heavy & set(loaded.stdout.decode().split())
