"""Whether the demo's pictures are what was asked for, and differ from each other.

A small classifier learns the styles on built-in pictures that the demo never trains on; then it names
the style of every sample in the folder. Printed: its accuracy on unseen built-in pictures; for each
style the share of samples that it names as the style asked for (goal: 90% of all); and the mean
distance between two samples of a style over that between two real pictures of it (goal: 60%).

    python benchmarks/demo_quality.py [demo/whole/samples]
"""

import argparse
import json
from itertools import pairwise
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from liquidgen.sources.abstract import STYLES, draw

SIZE = 64  # pixels
FIRST_UNSEEN = 100_000  # index of a built-in picture; the demo trains on the first few thousand
TRAINING, HELD_OUT = 6000, 1600  # pictures
EPOCHS, BATCH = 5, 64
SHARE_GOAL, DISTANCE_GOAL = 0.9, 0.6


def to_pixels(picture: Image.Image) -> Tensor:
    """RGB in [0, 1], `[3, SIZE, SIZE]`."""
    picture = picture.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BOX)
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return pixels.view(SIZE, SIZE, 3).permute(2, 0, 1) / 255


def built_in(first: int, count: int) -> tuple[Tensor, Tensor]:
    """Built-in pictures `[count, 3, SIZE, SIZE]` and their styles `[count]`, from index `first` on."""
    indices = range(first, first + count)
    pictures = torch.stack([to_pixels(draw(index, SIZE)) for index in indices])
    return pictures, torch.tensor(indices) % len(STYLES)


def read_samples(folder: Path) -> tuple[Tensor, Tensor]:
    """The pictures in a folder `[n, 3, SIZE, SIZE]` and the styles asked for `[n]`."""
    pictures, labels = [], []
    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as picture:
            settings = json.loads(picture.info.get("liquidgen", "{}"))
            if settings.get("class") in STYLES:  # the grid has none
                pictures.append(to_pixels(picture))
                labels.append(STYLES.index(settings["class"]))
    if not pictures:
        raise SystemExit(f"{folder} holds no samples of built-in styles: run `liquidgen demo`")
    return torch.stack(pictures), torch.tensor(labels)


def make_classifier() -> nn.Sequential:
    """Four convolutions with batch norm, the mean over all positions, a linear layer."""
    layers: list[nn.Module] = []
    widths, strides = (3, 32, 64, 128, 192), (2, 2, 2, 1)
    for (before, after), stride in zip(pairwise(widths), strides, strict=True):
        convolution = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
    head = nn.Linear(widths[-1], len(STYLES))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


def train_classifier(pictures: Tensor, labels: Tensor) -> nn.Sequential:
    """A classifier after `EPOCHS` passes, every other batch mirrored; the same one every time."""
    torch.manual_seed(0)
    classifier = make_classifier()
    steps = EPOCHS * -(-len(pictures) // BATCH)
    optimizer = torch.optim.AdamW(classifier.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps)
    orders = (torch.randperm(len(pictures)) for _ in range(EPOCHS))
    for step, rows in enumerate(rows for order in orders for rows in order.split(BATCH)):
        batch = pictures[rows] if step % 2 else pictures[rows].flip(3)
        loss = nn.functional.cross_entropy(classifier(batch), labels[rows], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return classifier.eval()


@torch.inference_mode()
def named(classifier: nn.Module, pictures: Tensor) -> Tensor:
    """The style that the classifier gives each picture, `[n]`."""
    return torch.cat([classifier(batch).argmax(1) for batch in pictures.split(256)])


def mean_distance(pictures: Tensor) -> float:
    """Root mean square difference of the pixels of two pictures, the mean over all pairs."""
    return float(torch.pdist(pictures.flatten(1)).mean()) / (3 * SIZE * SIZE) ** 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("demo/whole/samples"))
    samples, asked = read_samples(parser.parse_args().folder)

    classifier = train_classifier(*built_in(FIRST_UNSEEN, TRAINING))
    real, real_styles = built_in(FIRST_UNSEEN + TRAINING, HELD_OUT)
    accuracy = float((named(classifier, real) == real_styles).float().mean())
    print(f"classifier: {accuracy:.1%} of {HELD_OUT} unseen built-in pictures named right\n")

    given = named(classifier, samples)
    print(f"{'style':14} {'samples':>7} {'named so':>8} {'distance':>8} {'real':>6} {'ratio':>6}")
    ratios = []
    for label, style in enumerate(STYLES):
        chosen = asked == label
        count = int(chosen.sum())
        if count == 0:
            continue
        right = float((given[chosen] == label).float().mean())
        distance, real_distance = (
            mean_distance(samples[chosen]),
            mean_distance(real[real_styles == label]),
        )
        ratios.append(distance / real_distance)
        print(
            f"{style:14} {count:7} {right:8.0%} {distance:8.3f} {real_distance:6.3f} {ratios[-1]:6.2f}"
        )
    share = float((given == asked).float().mean())
    print(f"{'all':14} {len(asked):7} {share:8.1%} {'':8} {'':6} {sum(ratios) / len(ratios):6.2f}")
    print(f"{'goal':14} {'':7} {SHARE_GOAL:8.0%} {'':8} {'':6} {DISTANCE_GOAL:6.2f}")


if __name__ == "__main__":
    main()
