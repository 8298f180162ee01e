"""Where the commands find caches and runs when none is named."""

from pathlib import Path

from liquidgen.errors import LiquidgenError


def newest_cache(folder: Path) -> Path:
    """The cache in `folder` that was finished last.

    Raises:
        LiquidgenError: there is none.
    """
    found = sorted(folder.glob("*/manifest.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise LiquidgenError(
            f"there is no cache in {folder}/",
            "make one with `liquidgen cache SOURCE`, or name one with --data",
        )
    return found[-1].parent


def newest_run(folder: Path) -> Path:
    """The run in `folder` that saved a model last.

    Raises:
        LiquidgenError: there is none.
    """
    found = sorted(folder.glob("*/model/liquidgen.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise LiquidgenError(
            f"there is no run with a saved model in {folder}/",
            "train one with `liquidgen train`, or name a run",
        )
    return found[-1].parents[1]


def model_folder(path: Path) -> Path:
    """The model's folder in a run, or `path` itself when it is one.

    Raises:
        LiquidgenError: there is no such run, or it has not saved a checkpoint yet.
    """
    if not path.is_dir():
        raise LiquidgenError(f"there is no run {path}", "see ./runs for those there are")
    for folder in (path / "model", path):
        if (folder / "liquidgen.json").is_file():
            return folder
    raise LiquidgenError(
        f"{path} holds no checkpoint yet",
        "let `liquidgen train` run until it saves, after --save-every steps, or stop it with Ctrl-C",
    )


def model_name(path: Path) -> str:
    """What to call a model: the name of its run, or of its own folder once it has left the run."""
    folder = path.resolve()
    return folder.parent.name if folder.name == "model" else folder.name
