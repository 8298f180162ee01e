"""A progress bar with an estimate on stderr; plain lines when stderr is no terminal."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 10.0


class Advance(Protocol):
    """Tells the bar that `n` more units are finished; `note` says how it stands, such as "loss 0.41"."""

    def __call__(self, n: int, note: str = "") -> None: ...


@contextmanager
def progress(label: str, total: int | None, done: int = 0, shown: bool = True) -> Iterator[Advance]:
    """Show how far a job is while the block runs.

    Args:
        label: what is being done, such as "encoding".
        total: number of units in the whole job; None when nobody knows.
        done: units finished before now, which count for the bar and not for the estimate.
        shown: False shows nothing, for processes beside the main one.

    Yields:
        what to call when units are finished.
    """
    if not shown:
        yield lambda n, note="": None
    elif sys.stderr.isatty():
        with _bar() as bar:
            task = bar.add_task(label, total=total, completed=done, note="")
            yield lambda n, note="": bar.update(task, advance=n, note=note)
    else:
        yield _Lines(label, total, done)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
    )


class _Lines:
    """Prints a line now and then: for logs and for pipes."""

    def __init__(self, label: str, total: int | None, done: int) -> None:
        self.label, self.total, self.done = label, total, done
        self.begun = self.printed = time.monotonic()
        self.begun_at = done

    def __call__(self, n: int, note: str = "") -> None:
        if n == 0:
            return
        self.done += n
        now = time.monotonic()
        if now - self.printed < SECONDS_BETWEEN_LINES and self.done != self.total:
            return
        self.printed = now
        speed = (self.done - self.begun_at) / max(now - self.begun, 1e-9)
        sys.stderr.write(self._line(speed) + (f", {note}" if note else "") + "\n")
        sys.stderr.flush()

    def _line(self, speed: float) -> str:
        if self.total is None:
            return f"{self.label}: {self.done}, {speed:.1f} a second"
        left = (self.total - self.done) / max(speed, 1e-9)
        return (
            f"{self.label}: {self.done}/{self.total}, {speed:.1f} a second, {duration(left)} left"
        )


def duration(seconds: float) -> str:
    """A length of time for people: `42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
