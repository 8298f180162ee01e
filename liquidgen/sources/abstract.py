"""Abstract paintings drawn by the program itself: eight styles, no files, no network.

A painting is a function of its index alone. It is composed in unit coordinates (x to the right, y
down, both 0 to 1), so an index shows the same composition at any size. Shapes stay large, about a
tenth of the side and more, so that a composition survives at 64 pixels.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from random import Random
from typing import TypeVar

import numpy as np
from PIL import Image, ImageColor, ImageDraw

from liquidgen.sources.example import Example

T = TypeVar("T")
Colour = tuple[int, int, int]
Palette = list[Colour]
Point = tuple[float, float]

DRAWING_VERSION = "1"  # raise it whenever a picture changes, so that older caches are told apart
SUPERSAMPLE = 3  # canvas pixels a picture pixel, along one side

# Six colours each, from dark to light.
PALETTES = {
    "dusk": [
        "#2b2d5b #6a3d7c #b5507f #e8776b #f6a96c #fde0a6",
        "#1f3a5f #4f5d8f #9a6f9e #d98a8f #f2b48a #fbe3b5",
        "#3a1f3d #7a2e4d #b94a4a #e07a43 #f3a94f #fbdd8b",
        "#24424f #3f7079 #7fa08d #d8b27a #eec58d #f9e6bd",
        "#2f2350 #573a86 #8f5bb0 #d07fb5 #f2a5a5 #fbd7b0",
        "#402a3f #78455c #b5686c #dd9776 #f0c48f #f9e9c6",
        "#1d2f45 #36597d #6f8db0 #c99ba5 #efb79b #fae0bd",
    ],
    "earth": [
        "#4a3228 #8a4f32 #b97a4a #d2a676 #c9b99a #efe3cf",
        "#3b3a2a #6b6a3c #b5664a #a39150 #cbb272 #ecdfc0",
        "#3e2c33 #70474a #a8685a #c99a78 #9fa88f #e6dcc6",
    ],
    "sea": [
        "#16384f #1f6480 #3a93a5 #79bdb8 #b9dccb #f0ead2",
        "#1c2b4a #31508a #4f83c2 #8db8dd #f2c9a0 #f4efe2",
        "#1b3b45 #2a6f6b #4fa08b #8ac6a4 #e6b58a #f3e8cf",
    ],
    "garden": [
        "#22392e #3c6347 #6f8f58 #a9b96f #d9cf95 #f1ead0",
        "#3f5a3a #7d9440 #f0934a #c9bf45 #f0c64a #f9e9b8",
        "#2f4a3c #5b8e7d #c2606a #8cb369 #e8b4a0 #f4e9cd",
    ],
    "bauhaus": [
        "#2d3142 #c8453b #3d6c9e #e0a030 #d9c9a8 #f0e8d8",
        "#33302e #35687a #d1603d #6aa08c #ddb967 #f4e9cd",
        "#27304f #8f3f5a #2f8084 #e2794f #ecbd5a #f2e6d2",
    ],
    "pastel": [
        "#7d6b91 #a99bc0 #e3a8b6 #b6d3c5 #f3c9b5 #f5efdf",
        "#6d8299 #9fb8c8 #d9b8c4 #c9dcb4 #f1d6b8 #f8f1e4",
    ],
    "berry": [
        "#3d1f3f #7b2d5b #b8456f #dd7f86 #efb7a3 #f7e6d4",
        "#141b33 #2c3a66 #4e5d94 #8a86b8 #c7aac4 #efd9c9",
    ],
}


def parse(line: str) -> Palette:
    """The colours of one line of the table."""
    return [ImageColor.getrgb(name)[:3] for name in line.split()]


DUSK = [parse(line) for line in PALETTES["dusk"]]
EVERY_PALETTE = [parse(line) for family in PALETTES.values() for line in family]


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """A colour between two, `share` of the way (0 to 1) from the first to the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def wave(level: float, height: float, periods: float, phase: float) -> list[Point]:
    """A sine line across the canvas and beyond its sides, `height` up and down around `level`."""
    xs = [-0.3 + 0.05 * step for step in range(33)]
    return [(x, level + height * math.sin(math.tau * (periods * x + phase))) for x in xs]


def turned(points: Sequence[Point], angle: float) -> list[Point]:
    """The points turned by `angle` radians around the centre of the canvas."""
    cos, sin = math.cos(angle), math.sin(angle)
    return [
        (0.5 + (x - 0.5) * cos - (y - 0.5) * sin, 0.5 + (x - 0.5) * sin + (y - 0.5) * cos)
        for x, y in points
    ]


class Dice:
    """Choices from one seed, made of `Random.random` alone: all Pythons give the same sequence."""

    def __init__(self, seed: int) -> None:
        self.roll = Random(seed).random

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.roll()

    def count(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + int(self.roll() * (high - low + 1))

    def pick(self, choices: Sequence[T], *refused: T) -> T:
        """One of the choices that is none of the refused."""
        allowed = [choice for choice in choices if choice not in refused]
        return allowed[int(self.roll() * len(allowed))]

    def cuts(self, parts: int) -> list[float]:
        """0, then where to cut the unit length into uneven parts, then 1."""
        lengths = [self.between(0.7, 1.3) for _ in range(parts)]
        return [sum(lengths[:end]) / sum(lengths) for end in range(parts + 1)]

    def palette(self, palettes: Sequence[Palette]) -> Palette:
        """One of the palettes under a thin glaze of a colour from anywhere in the table."""
        glaze, strength = self.pick(self.pick(EVERY_PALETTE)), self.between(0.0, 0.25)
        return [mix(colour, glaze, strength) for colour in self.pick(palettes)]

    def sequence(self, palette: Palette, length: int) -> Palette:
        """Colours for neighbouring bands, no two neighbours alike: a ramp, turns, or free."""
        manner = self.pick(["ramp", "turns", "free"])
        if manner == "ramp":
            ramp = palette if self.roll() < 0.5 else palette[::-1]
            places = [band * (len(ramp) - 1.001) / (length - 1) for band in range(length)]
            return [mix(ramp[int(place)], ramp[int(place) + 1], place % 1) for place in places]
        if manner == "turns":
            first = self.pick(palette)
            second = self.pick(palette, first)
            third = self.pick(palette, first, second)
            return [[first, second, third, second][band % 4] for band in range(length)]
        colours = [self.pick(palette)]
        while len(colours) < length:
            colours.append(self.pick(palette, colours[-1]))
        return colours


class Canvas:
    """A square to paint on in unit coordinates, larger than the picture that it becomes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.side = size * SUPERSAMPLE
        self.image = Image.new("RGB", (self.side, self.side))
        self.pen = ImageDraw.Draw(self.image)
        self.axis = (np.arange(self.side, dtype=np.float32) + 0.5) / self.side  # pixel centres

    def fill(self, colour: Colour) -> None:
        self.image.paste(colour, (0, 0, self.side, self.side))

    def shape(self, points: Sequence[Point], colour: Colour) -> None:
        self.pen.polygon([(x * self.side - 0.5, y * self.side - 0.5) for x, y in points], colour)

    def below(self, line: Sequence[Point], colour: Colour, angle: float = 0.0) -> None:
        """All that lies under a line, line and all turned by `angle`."""
        self.shape(turned([*line, (1.3, 1.5), (-0.3, 1.5)], angle), colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        self.shape([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        corners = (x - radius, y - radius, x + radius, y + radius)
        self.pen.ellipse([corner * self.side - 0.5 for corner in corners], colour)

    def fade(self, top: float, bottom: float, colours: Sequence[Colour]) -> None:
        """A band from y = `top` to y = `bottom` that fades through the colours downwards."""
        first, last = round(top * self.side), round(bottom * self.side)
        stops = np.linspace(top, bottom, len(colours))
        tones = [np.interp(self.axis[first:last], stops, tone) for tone in np.transpose(colours)]
        column = np.stack(tones, axis=-1).round().astype(np.uint8)[:, None]  # [rows, 1, 3]
        self.image.paste(Image.fromarray(column.repeat(self.side, axis=1)), (0, first))

    def veil(self, opacity: np.ndarray, colour: Colour) -> None:
        """Colour laid over everything, `opacity` [side, side] from 0 to 1."""
        mask = Image.fromarray(np.round(opacity * 255).astype(np.uint8))
        self.image.paste(colour, (0, 0), mask)

    def lit(self, angle: float, strength: float) -> Image.Image:
        """The finished picture, in a light that falls from one side."""
        picture = self.image.resize((self.size, self.size), Image.Resampling.BILINEAR)
        axis = (np.arange(self.size, dtype=np.float32) + 0.5) / self.size - 0.5
        light = 1 + strength * (axis[:, None] * math.sin(angle) + axis * math.cos(angle))
        pixels = np.asarray(picture, dtype=np.float32) * light[..., None]
        return Image.fromarray(np.round(pixels.clip(0, 255)).astype(np.uint8))


def grids(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """Uneven rows and columns of coloured rectangles, edge to edge or with gutters."""
    ground = mix(dice.pick([palette[0], palette[-1]]), palette[3], 0.2)
    gutter = dice.pick([0.0, 0.015, 0.022])
    rows, columns = dice.cuts(dice.count(3, 5)), dice.cuts(dice.count(3, 5))
    canvas.fill(ground)
    above: list[Colour] = [ground] * len(columns)
    for top, bottom in pairwise(rows):
        before = ground
        for column, (left, right) in enumerate(pairwise(columns)):
            before = above[column] = dice.pick(palette, ground, before, above[column])
            canvas.box(left + gutter, top + gutter, right - gutter, bottom - gutter, before)


def circles(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """Rings inside each other, concentric or drifting to one side."""
    rings = dice.count(3, 6)
    x, y, radius = dice.between(0.38, 0.62), dice.between(0.38, 0.62), dice.between(0.45, 0.7)
    towards, drift = dice.between(0, math.tau), dice.pick([0.0, 0.0, 0.3, 0.45])
    step = radius / rings
    ground, *colours = dice.sequence(palette, rings + 1)
    right, down = step * drift * math.cos(towards), step * drift * math.sin(towards)
    canvas.fill(ground)
    for ring, colour in enumerate(colours):
        canvas.disc(x + ring * right, y + ring * down, radius - ring * step, colour)


def color_fields(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """Two or three broad blocks with soft edges, floating one above the other on a ground."""
    margin, gap = dice.between(0.06, 0.16), dice.between(0.03, 0.06)
    softness = dice.between(0.012, 0.03)
    ground = colour = dice.pick(palette)
    edge, span = margin * 0.8, 1 - margin * 1.6

    def inside(start: float, end: float) -> np.ndarray:
        beyond = abs(canvas.axis - (start + end) / 2) - (end - start) / 2
        return 1 / (1 + np.exp(beyond / softness))

    canvas.fill(ground)
    for top, bottom in pairwise(dice.cuts(dice.count(2, 3))):
        colour = dice.pick(palette, ground, colour)
        rows = inside(edge + top * span + gap / 2, edge + bottom * span - gap / 2)
        canvas.veil(dice.between(0.8, 1.0) * np.outer(rows, inside(margin, 1 - margin)), colour)


def dots(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """Big round dots in rows, in staggered rows or strewn, on a plain ground."""
    ground = dice.pick([palette[0], palette[1], palette[-2], palette[-1]])
    colours = [colour for colour in palette if colour != ground][: dice.count(2, 5)]
    rows, stagger = dice.count(3, 5), dice.pick([0.0, 0.25])
    looseness, fullness = dice.pick([0.0, 0.0, 0.12, 0.2]), dice.between(0.34, 0.44)
    smallest = dice.between(0.75, 1.0)
    canvas.fill(ground)
    for row in range(rows):
        start = 0.5 + (stagger if row % 2 else -stagger)
        for column in range(-1, rows + 1):
            x = column + start + dice.between(-looseness, looseness)
            y = row + 0.5 + dice.between(-looseness, looseness)
            radius = fullness * dice.between(smallest, 1.0)
            canvas.disc(x / rows, y / rows, radius / rows, dice.pick(colours))


def sunsets(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """A glowing sky, a low sun, and the sea or hills in front of it."""
    horizon = dice.between(0.55, 0.75)
    x, radius = dice.between(0.25, 0.75), dice.between(0.1, 0.19)
    y = horizon - dice.between(-0.3, 1.6) * radius
    sky = dice.pick([palette[1:5], palette[:5], palette[2:5]])
    sun = mix(palette[5], (255, 250, 235), dice.between(0.2, 0.7))
    canvas.fill(sky[-1])
    canvas.fade(0.0, horizon, sky)
    distance = (canvas.axis - x) ** 2 + (canvas.axis[:, None] - y) ** 2
    canvas.veil(dice.between(0.4, 0.7) * np.exp(-distance / (3.5 * radius**2)), sun)
    canvas.disc(x, y, radius, sun)
    if dice.roll() < 0.5:
        canvas.fade(horizon, 1.0, [mix(palette[2], palette[1], dice.roll()), palette[0]])
        shine = np.exp(-(((canvas.axis - x) / radius) ** 2)) * (canvas.axis[:, None] > horizon)
        canvas.veil(dice.between(0.3, 0.6) * shine, sun)
        return
    ranges = dice.count(1, 3)
    for hill in range(ranges):
        level = horizon + (1 - horizon) * hill / ranges
        line = wave(level, dice.between(0.02, 0.06), dice.between(0.5, 1.3), dice.roll())
        canvas.below(line, mix(palette[2], palette[0], (hill + 1) / ranges))


def waves(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """Swelling bands, one in front of the other."""
    bands, angle = dice.count(4, 6), dice.between(-0.4, 0.4)
    height, periods = dice.between(0.05, 0.09), dice.between(1.0, 2.2)
    phase, drift = dice.roll(), dice.pick([0.0, 0.12, -0.12, 0.5])
    ground, *colours = dice.sequence(palette, bands + 1)
    canvas.fill(ground)
    for band, colour in enumerate(colours):
        level = (band + 0.6) / bands - 0.05
        canvas.below(wave(level, height, periods, phase + drift * band), colour, angle)


def stripes(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """Straight stripes of uneven width: level, upright or slanting."""
    angle = math.radians(dice.pick([0, 90, 45, -45, dice.between(-80, 80)]))
    cuts = dice.cuts(dice.count(4, 8))
    reach = abs(math.cos(angle)) + abs(math.sin(angle))  # from corner to corner, across the stripes
    for cut, colour in zip(cuts, dice.sequence(palette, len(cuts) - 1), strict=False):
        level = 0.5 + (cut - 0.5) * reach
        canvas.below([(-0.3, level), (1.3, level)], colour, angle)


def mosaics(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """Large crooked triangles that leave no gap, coloured freely or along a slope."""
    cells, slope = dice.count(3, 4), dice.between(0, math.tau)
    freedom = dice.pick([0.5, 1.5, 6.0])  # steps along the palette, either way
    shift = dice.between(0.4, 0.6)
    corners = {
        (column, row): (
            (column + shift + dice.between(-0.28, 0.28)) / cells,
            (row + shift + dice.between(-0.28, 0.28)) / cells,
        )
        for column in range(-1, cells + 1)
        for row in range(-1, cells + 1)
    }

    def tile(*points: Point) -> None:
        x, y = (sum(values) / 3 for values in zip(*points, strict=True))
        along = 2.5 + 4 * ((x - 0.5) * math.cos(slope) + (y - 0.5) * math.sin(slope))
        place = round(along + dice.between(-freedom, freedom))
        colour = palette[place % 6] if freedom > 2 else palette[min(max(place, 0), 5)]
        canvas.shape(points, mix(colour, dice.pick(palette), dice.between(0.0, 0.3)))

    for column in range(-1, cells):
        for row in range(-1, cells):
            a, b = corners[column, row], corners[column + 1, row]
            c, d = corners[column + 1, row + 1], corners[column, row + 1]
            if dice.roll() < 0.5:
                tile(a, b, c)
                tile(a, c, d)
            else:
                tile(a, b, d)
                tile(b, c, d)


PAINTERS: dict[str, Callable[[Canvas, Dice, Palette], None]] = {
    "grids": grids,
    "circles": circles,
    "color-fields": color_fields,
    "dots": dots,
    "sunsets": sunsets,
    "waves": waves,
    "stripes": stripes,
    "mosaics": mosaics,
}
STYLES: tuple[str, ...] = tuple(PAINTERS)


def draw(index: int, size: int) -> Image.Image:
    """Painting number `index` (0 and up, without end) as an RGB picture of `size` x `size` pixels.

    Its style is `STYLES[index % 8]`.
    """
    style = STYLES[index % len(STYLES)]
    dice, canvas = Dice(index), Canvas(size)
    palette = dice.palette(DUSK if style == "sunsets" else EVERY_PALETTE)
    angle, strength = dice.between(0, math.tau), dice.between(0.05, 0.25)
    PAINTERS[style](canvas, dice, palette)
    return canvas.lit(angle, strength)


class AbstractPaintings:
    """The first `length` paintings at one size, as a source labelled with their styles."""

    id = "abstract"
    revision = DRAWING_VERSION
    classes = STYLES

    def __init__(self, image_size: int, length: int = 2000) -> None:
        self.image_size = image_size
        self.length = length

    def __len__(self) -> int:
        return self.length

    def examples(self, start: int, stop: int) -> Iterator[Example]:
        """Paintings `start` to `stop` (excluded), no further than the last one."""
        for index in range(start, min(stop, self.length)):
            yield Example(
                key=f"abstract-{index:06d}",
                image=draw(index, self.image_size),
                label=index % len(STYLES),
            )
