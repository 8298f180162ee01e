"""What an installation puts on a machine, and what the command costs before it does anything."""

import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

import pytest

PROJECT = Path(__file__).parents[1]
FOLDERS = {"liquidgen": "liquidgen", "liquidgen.cli": "cli", "liquidgen.presets": "presets"}
HEAVY = {"torch", "diffusers", "datasets", "accelerate", "numpy", "PIL", "pydantic", "rich"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    """The wheel of a copy of the project, so that an old build folder has no part in it."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "project"
    for name in FOLDERS.values():
        shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in PROJECT.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    old = int(version("setuptools").split(".")[0]) < 77
    how = ["--quiet", "--no-deps", *([] if old else ["--no-build-isolation"])]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *how, "--wheel-dir", folder, copy],
        check=True,
        capture_output=True,
    )
    return ZipFile(next(folder.glob("*.whl")))


def test_nothing_but_liquidgen_is_at_the_top_level(wheel: ZipFile):
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"liquidgen"}


def test_every_python_file_and_preset_is_in_the_wheel(wheel: ZipFile):
    expected = {
        str(Path(package.replace(".", "/")) / path.relative_to(PROJECT / folder))
        for package, folder in FOLDERS.items()
        for pattern in ("*.py", "*.toml")
        for path in (PROJECT / folder).rglob(pattern)
    }
    assert expected - set(wheel.namelist()) == set()


def test_the_built_in_vae_is_in_the_wheel_and_small(wheel: ZipFile):
    folder = "liquidgen/tiny_vae"
    weights = wheel.getinfo(f"{folder}/diffusion_pytorch_model.safetensors")
    assert 1e6 < weights.file_size <= 6e6
    assert {f"{folder}/config.json", f"{folder}/README.md"} <= set(wheel.namelist())


def test_the_licence_is_in_the_wheel(wheel: ZipFile):
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.namelist())


def test_the_command_runs_from_the_wheel_alone(wheel: ZipFile, tmp_path: Path):
    wheel.extractall(tmp_path)
    code = "import liquidgen; print(liquidgen.__file__); from liquidgen.cli.app import main; main()"
    done = run(tmp_path, "-c", code, "--help")
    assert str(tmp_path / "liquidgen" / "__init__.py") in done
    assert "Train an image generator" in done


def test_every_folder_of_python_files_is_listed_as_a_package():
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = {
        ".".join([package, *path.parent.relative_to(PROJECT / folder).parts])
        for package, folder in FOLDERS.items()
        for path in (PROJECT / folder).rglob("*.py")
    }
    assert packages == set(settings["tool"]["setuptools"]["packages"])


def test_help_imports_nothing_heavy(tmp_path: Path):
    code = (
        "import sys\n"
        "from liquidgen.cli.app import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print('imported:', *sys.modules)"
    )
    words = run(tmp_path, "-c", code, "--help")
    for command in ("demo", "presets", "cache", "verify", "train", "sample"):
        assert f" {command} " in words
    imported = words.rpartition("imported: ")[2].split()
    assert "typer" in imported
    assert HEAVY.intersection(imported) == set()


def run(folder: Path, *arguments: str) -> str:
    """Stdout of a Python process in `folder`, whose modules come first."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    return done.stdout
