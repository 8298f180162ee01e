"""The `liquidgen` command. Modules here import nothing heavy at the top: `--help` must be instant."""

import logging
import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import typer

from liquidgen.errors import LiquidgenError

from .cache import cache
from .demo import demo
from .output import say
from .presets import presets
from .sample import sample
from .train import train
from .verify import verify

app = typer.Typer(
    help="Train an image generator of your own, from scratch, on your own pictures.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # importing rich would double the time of --help
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (demo, presets, cache, verify, train, sample):
    app.command()(command)


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the whole traceback of a failure.")
    ] = False,
) -> None:
    """Options of every command; `--debug` is read by `main`, wherever it stands."""


def main() -> None:
    """Run the command line; exit with 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    signal.signal(signal.SIGTERM, _stop)
    _show_log()
    try:
        app(arguments, prog_name="liquidgen")
    except SystemExit as finished:
        if finished.code == 130:
            say("stopped: what is done is saved, and the same command goes on from there")
        raise
    except LiquidgenError as error:
        if debug:
            raise
        _fail(error.message, error.hint)
    except OSError as error:
        if debug:
            raise
        _fail(str(error), "check the path, its permissions and the space left; --debug tells more")
    except Exception as error:
        if debug:
            raise
        _fail(f"{type(error).__name__}: {error}", "run it again with --debug for the whole story")


def _stop(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _fail(message: str, hint: str) -> NoReturn:
    typer.echo(f"error: {_line(message)}\nhint: {_line(hint)}", err=True)
    sys.exit(1)


def _line(text: str) -> str:
    return " ".join(text.split())


def _show_log() -> None:
    """Words of the library reach the person through the log, on stderr."""
    log = logging.getLogger("liquidgen")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.handlers = [_Stderr()]


class _Stderr(logging.Handler):
    """Writes to whatever stderr is at the moment, so that lines go above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record))
