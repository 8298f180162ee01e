"""`liquidgen` as a user runs it: a process of its own."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "liquidgen"]
PATIENCE = 300  # seconds


@dataclass(frozen=True)
class Done:
    """How a process ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def summary(self) -> dict[str, Any]:
        """The one JSON object on stdout; fails when there is anything else."""
        return json.loads(self.stdout)


def liquidgen(folder: Path, *arguments: object) -> Done:
    """Run a command in `folder` to its end."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=PATIENCE,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def interrupt(
    folder: Path, number: int, reached: Callable[[], bool], *arguments: object
) -> tuple[int, str]:
    """Run a command, send it the signal `number` once `reached`; its exit code and words."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        deadline = time.monotonic() + PATIENCE
        while process.poll() is None and not reached() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        words = process.communicate(timeout=PATIENCE)[1]
    return process.returncode, words


def refuses(done: Done, *words: str) -> None:
    """Check that a command failed for people: one line what, one line what to do, no traceback."""
    assert done.code == 1, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert [line.startswith("error: ") for line in lines].count(True) == 1, done.stderr
    assert lines[-2].startswith("error: ")
    assert lines[-1].startswith("hint: ")
    told = "\n".join(lines[-2:])
    assert [word for word in words if word not in told] == [], told


def files_in(folder: Path) -> dict[str, bytes]:
    """Every file and folder below `folder`, with the content of small files."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        if path.is_file() and path.stat().st_size < 100_000
        else b""
        for path in folder.rglob("*")
    }


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def count_rows(run: Path) -> int:
    """Rows of a run's metrics so far."""
    path = run / "metrics.jsonl"
    return path.read_text(encoding="utf-8").count("\n") if path.exists() else 0
