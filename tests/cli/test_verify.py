"""`liquidgen verify` finds any damage, names the shard and the command that repairs it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

RunLine = Callable[[str], tuple[int, str, str]]
CACHE = "cache/abstract-16-pixels"
MAKE = "cache abstract --vae pixels --image-size 16 --max-images 6 --shard-images 2"


@pytest.fixture
def shard(run_line: RunLine, tmp_path: Path) -> Path:
    """A shard in the middle of a fresh cache."""
    assert run_line(MAKE)[0] == 0
    return tmp_path / CACHE / "shard-00001.safetensors"


def test_a_whole_cache_passes(run_line: RunLine, shard: Path):
    code, out, err = run_line(f"verify {CACHE}")
    assert (code, out) == (0, "")
    assert "6 latents in 3 shards, all whole" in err
    code, out, _ = run_line(f"verify {CACHE} --json")
    assert code == 0
    assert json.loads(out) == {
        "cache": CACHE,
        "count": 6,
        "shards": 3,
        "complete": True,
        "damaged": [],
    }


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def zero_tail(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-64] + bytes(64))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-64])


@pytest.mark.parametrize("damage", [flip, zero_tail, cut, Path.unlink])
def test_damage_is_named_and_the_command_it_names_repairs_it(
    run_line: RunLine, shard: Path, damage
):
    whole = shard.read_bytes()
    damage(shard)
    code, out, err = run_line(f"verify {CACHE} --json")
    assert code == 1
    assert [Path(entry["file"]).name for entry in json.loads(out)["damaged"]] == [shard.name]
    assert shard.name in err
    assert f"`liquidgen {MAKE}`" in err
    assert run_line(MAKE)[0] == 0
    assert shard.read_bytes() == whole
    assert run_line(f"verify {CACHE}")[0] == 0


def test_all_damaged_shards_are_named(run_line: RunLine, shard: Path):
    flip(shard)
    (shard.parent / "shard-00002.safetensors").unlink()
    _, _, err = run_line(f"verify {CACHE}")
    assert "2 of 3 shards are damaged" in err
    assert "shard-00001" in err
    assert "shard-00002" in err


def test_a_newer_format_is_told_and_nothing_changed(run_line: RunLine, shard: Path):
    path = shard.parent / "manifest.json"
    text = json.dumps(json.loads(path.read_text()) | {"format_version": 9})
    path.write_text(text)
    code, _, err = run_line(f"verify {CACHE}")
    assert code == 1
    assert "format version 9" in err
    assert "nothing was changed" in err
    assert path.read_text() == text


def test_an_unfinished_cache_is_told(run_line: RunLine, shard: Path):
    path = shard.parent / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"complete": False}))
    code, _, err = run_line(f"verify {CACHE}")
    assert code == 1
    assert "not finished" in err
