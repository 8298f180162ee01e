"""`liquidgen demo --quick`: all three stages, nothing but the program itself."""

from pathlib import Path

import pytest
from PIL import Image
from running import liquidgen

from liquidgen.sources.abstract import STYLES


@pytest.mark.slow
def test_the_quick_demo_ends_in_a_grid_whose_path_it_prints(tmp_path: Path):
    done = liquidgen(tmp_path, "demo", "--quick", "--json")
    assert done.code == 0, done.stderr
    grid = Path(done.summary["grid"])
    assert done.stderr.splitlines()[-1].endswith(str(grid))
    with Image.open(tmp_path / grid) as picture:
        assert picture.width > len(STYLES) * 64
        assert picture.height > 8 * 64
    samples = [path for path in (tmp_path / grid).parent.glob("*.png") if path.name != grid.name]
    assert len(samples) == 8 * len(STYLES)
    assert {path.name for path in tmp_path.iterdir()} == {"demo"}
