"""`liquidgen presets`: what there is, and the sizes as they are."""

from pathlib import Path

import pytest
from running import Done, liquidgen

GOALS = {"S": 55e6, "B": 140e6, "L": 280e6}


@pytest.fixture(scope="module")
def presets(tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("presets")
    done = liquidgen(folder, "presets", "--json")
    assert done.code == 0, done.stderr
    assert list(folder.iterdir()) == []
    return done


@pytest.mark.parametrize("size", GOALS)
def test_a_size_has_its_parameters_within_5_percent(presets: Done, size: str):
    parameters = presets.summary["sizes"][size]["parameters"]
    assert parameters == pytest.approx(GOALS[size], rel=0.05)


def test_the_smallest_size_has_at_most_6_million_parameters(presets: Done):
    assert presets.summary["sizes"]["XS"]["parameters"] <= 6e6


def test_every_name_is_in_the_words_and_in_the_json(presets: Done):
    for kind in ("datasets", "vaes", "sizes"):
        for name in presets.summary[kind]:
            assert f"  {name} " in presets.stderr
    assert {"tiny", "pixels", "taef1", "flux", "flux-open", "sdxl"} <= presets.summary[
        "vaes"
    ].keys()
    assert {"abstract", "cifar10", "paintings"} <= presets.summary["datasets"].keys()


def test_the_parameters_in_the_words_are_those_measured(presets: Done):
    for size in presets.summary["sizes"].values():
        assert f"{size['parameters'] / 1e6:.1f}M parameters" in presets.stderr


def test_without_json_nothing_is_on_stdout(tmp_path: Path):
    done = liquidgen(tmp_path, "presets")
    assert done.code == 0
    assert done.stdout == ""
