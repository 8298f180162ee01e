"""PSNR of round trips through the built-in VAE `tiny` on pictures that its training never saw.

    python -m benchmarks.vae_round_trip --photographs FOLDER --cifar TRAIN.parquet --taef1 FOLDER

For each set of held-out pictures (see `tools.tiny_vae_data`): the round trip of `tiny`, that of
taef1, and `tiny` latents decoded by taef1, which tells how near the two latent spaces are. Two
figures each: over all pixels of the set together, and the mean of the pictures' own figures.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from liquidgen.vae import load_vae
from tools.tiny_vae_data import held_out_pictures, psnr


def sheet(rows: list[torch.Tensor], columns: int, path: Path) -> None:
    """One picture a column, one version a row: the first `columns` of each set, as a PNG file."""
    lines = [torch.cat(list(row[:columns]), dim=2) for row in rows]
    pixels = torch.cat(lines, dim=1).permute(1, 2, 0).numpy()
    Image.fromarray(np.ascontiguousarray(pixels)).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photographs", type=Path, required=True, help="folder of wallpapers")
    parser.add_argument("--cifar", type=Path, required=True, help="CIFAR-10, train.parquet")
    parser.add_argument("--tiny", default="tiny", help="the VAE to measure, as for --vae")
    parser.add_argument("--taef1", default="taef1", help="taef1, as for --vae")
    parser.add_argument("--count", type=int, default=200, help="pictures a set (not photographs)")
    parser.add_argument("--sheets", type=Path, help="folder for sheets: original, tiny, taef1")
    arguments = parser.parse_args()

    tiny, taef1 = load_vae(arguments.tiny), load_vae(arguments.taef1)
    ways = {"tiny": (tiny, tiny), "taef1": (taef1, taef1), "tiny, by taef1": (tiny, taef1)}
    sets = held_out_pictures(arguments.photographs, arguments.cifar, arguments.count)

    print(f"{'held-out pictures':24} {'number':>6} {'VAE':16} {'PSNR':>9} {'mean PSNR':>9}")
    for name, pictures in sets.items():
        decoded = {way: to.decode(by.encode(pictures)) for way, (by, to) in ways.items()}
        for way, result in decoded.items():
            together, mean = psnr(pictures, result)
            print(f"{name:24} {len(pictures):6} {way:16} {together:6.2f} dB {mean:6.2f} dB")
        if arguments.sheets:
            arguments.sheets.mkdir(parents=True, exist_ok=True)
            columns = 1024 // pictures.shape[-1] + 4
            file = arguments.sheets / f"{name.replace(' ', '-')}.png"
            sheet([pictures, *decoded.values()], columns, file)


if __name__ == "__main__":
    main()
