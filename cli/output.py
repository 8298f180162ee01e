"""What a person reads goes to stderr; what a program reads goes to stdout."""

import json
import os
from typing import Any

import typer


def say(text: str) -> None:
    """Tell the person something, once, however many processes there are."""
    if is_main_process():
        typer.echo(text, err=True)


def print_json(value: dict[str, Any]) -> None:
    """Print the result of a command for a program to read: one JSON object."""
    if is_main_process():
        typer.echo(json.dumps(value))


def is_main_process() -> bool:
    """Whether this is the first of the processes that `accelerate launch` started, or alone."""
    return os.environ.get("RANK", "0") == "0"
