"""`liquidgen sample`."""

import itertools
import json as json_module
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .output import print_json, say

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_IN_GRID = 256
MOST_COLUMNS = 16


def sample(
    run: Annotated[
        Path | None, typer.Argument(help="A run or its model folder. Default: newest in ./runs.")
    ] = None,
    cfg: Annotated[float, typer.Option(help="Guidance scale; 1 is none.")] = 4.0,
    steps: Annotated[int, typer.Option(help="Euler steps from noise to picture.")] = 50,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="Class by name; repeat for several. Default: all in turn."),
    ] = None,
    num: Annotated[int, typer.Option(help="Number of pictures.")] = 16,
    seed: Annotated[int, typer.Option(help="Picture k has the seed SEED + k.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder. Default: below samples/<run>, named by the settings."),
    ] = None,
    vae: Annotated[
        str | None, typer.Option(help="The VAE, if it is no longer where it was.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
) -> None:
    """Make new pictures with a trained network: PNG files and a grid."""
    from .checks import check_device, check_range

    check_range("--cfg", cfg, 0, 100)
    check_range("--steps", steps, 1, 10_000)
    check_range("--num", num, 1, 1_000_000)
    check_range("--seed", seed, 0, 2**63 - 1 - num)
    place = check_device(device)

    from .places import model_folder, model_name, newest_run

    run = run or newest_run(Path("runs"))
    summary = write_samples(
        model_folder(run),
        out or Path("samples") / model_name(run) / f"cfg{cfg:g}-steps{steps}-seed{seed}",
        num=num,
        classes=classes or [],
        cfg=cfg,
        steps=steps,
        seed=seed,
        device=place,
        vae=vae,
    )
    say(f"{num} pictures in {summary['out']}, together in {summary['grid']}")
    if json:
        print_json(summary)


def write_samples(
    model: Path,
    out: Path,
    *,
    num: int,
    classes: Sequence[str],
    cfg: float,
    steps: int,
    seed: int,
    device: str,
    vae: str | None = None,
) -> dict[str, Any]:
    """Sample into `out`, each picture as soon as it is ready, and a grid of the first ones.

    Pictures of the same settings that an earlier call has finished are kept. The arguments are those of
    `liquidgen.generate.generate`; the summary is returned.
    """
    from liquidgen.files import sweep_temporaries
    from liquidgen.generate import choose_labels, class_name, generate
    from liquidgen.grid import write_grid
    from liquidgen.model_folder import read_facts
    from liquidgen.progress import progress

    from .places import model_name

    facts = read_facts(model)
    settings = {"model": model_name(model), "model_steps": facts.steps}
    settings |= {"model_hash": facts.weights_hash, "cfg": cfg, "steps": steps, "solver": "euler"}
    names = [class_name(facts, label) for label in choose_labels(facts, classes, num, seed)]
    told = [{**settings, "seed": seed + k, "class": name} for k, name in enumerate(names)]
    files = [picture_path(out, settings) for settings in told]
    sweep_temporaries(out)
    finished = sum(1 for _ in itertools.takewhile(bool, map(read_finished, files, told)))
    pictures = generate(
        model,
        num=num,
        first=finished,
        classes=classes,
        cfg=cfg,
        steps=steps,
        seed=seed,
        device=device,
        vae=vae,
    )
    with progress("sampling", num, finished) as advance:
        for picture in pictures:
            out.mkdir(parents=True, exist_ok=True)
            write_picture(files[picture.index], picture.image, told[picture.index])
            advance(1)
    kinds = len(classes or facts.classes)
    columns = kinds if 1 < kinds <= MOST_COLUMNS else None
    titles = [name or "" for name in names[:columns]] if columns else []
    shown = [picture for picture in map(read_finished, files[:MOST_IN_GRID], told) if picture]
    grid = out / "grid.png"
    write_grid(grid, shown, columns, titles)
    summary = {"out": str(out), "grid": str(grid), "files": [str(file) for file in files]}
    return {**summary, "seed": seed, **settings}


def write_picture(path: Path, image: "Image", settings: dict[str, Any]) -> None:
    """Write a PNG with its settings as JSON in the text chunk `liquidgen`."""
    from PIL.PngImagePlugin import PngInfo

    from liquidgen.files import write_atomically

    metadata = PngInfo()
    metadata.add_itxt("liquidgen", json_module.dumps(settings, ensure_ascii=False))
    write_atomically(path, lambda file: image.save(file, format="PNG", pnginfo=metadata))


def read_finished(path: Path, settings: dict[str, Any]) -> "Image | None":
    """The picture in `path` if it is whole and of these settings."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.load()
            same = json_module.loads(picture.info.get("liquidgen", "null")) == settings
            return picture.copy() if same else None
    except (OSError, ValueError, SyntaxError):
        return None


def picture_path(folder: Path, settings: dict[str, Any]) -> Path:
    """Where the picture of a seed and class goes."""
    kind = "" if settings["class"] is None else f"-{safe_name(settings['class'])}"
    return folder / f"{settings['seed']:06d}{kind}.png"


def safe_name(name: str) -> str:
    """A class name as part of a file name: letters, digits, `-` and `_`; the true one is in the metadata."""
    return re.sub(r"[^\w-]+", "-", name).strip("-")[:40] or "class"
