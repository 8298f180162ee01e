"""`liquidgen presets`."""

from typing import Annotated, Any

import typer

from .output import print_json, say


def presets(
    json: Annotated[bool, typer.Option("--json", help="Print the lists as JSON.")] = False,
) -> None:
    """What there is: data sets, VAEs, and sizes as measured."""
    from liquidgen.preset_files import preset_names, read_preset
    from liquidgen.sizes import count_parameters, read_size
    from liquidgen.sources.presets import DatasetPreset
    from liquidgen.vae import VaePreset

    datasets = {
        name: read_preset("datasets", name, DatasetPreset) for name in preset_names("datasets")
    }
    vaes = {name: read_preset("vaes", name, VaePreset) for name in preset_names("vaes")}
    sizes = {name: read_size(name) for name in preset_names("sizes")}
    parameters = {name: count_parameters(name) for name in sizes}
    summary: dict[str, Any] = {
        "datasets": {"abstract": {"note": ABSTRACT}}
        | {name: preset.model_dump() for name, preset in datasets.items()},
        "vaes": {name: preset.model_dump() for name, preset in vaes.items()},
        "sizes": {
            name: {"parameters": parameters[name], **preset.model_dump()}
            for name, preset in sizes.items()
        },
    }
    words = [
        *_table(
            "data sets (liquidgen cache NAME)",
            [("abstract", "", ABSTRACT)]
            + [
                (name, preset.repository, f"{preset.note}; licence: {preset.licence}")
                for name, preset in datasets.items()
            ],
        ),
        *_table(
            "VAEs (liquidgen cache --vae NAME)",
            [
                (name, f"{preset.channels} channels, {preset.factor}x", preset.note)
                for name, preset in vaes.items()
            ],
        ),
        *_table(
            "sizes (liquidgen train --size NAME)",
            [
                (name, f"{parameters[name] / 1e6:.1f}M parameters", preset.note)
                for name, preset in sorted(sizes.items(), key=lambda item: parameters[item[0]])
            ],
        ),
    ]
    say("\n".join(words))
    if json:
        print_json(summary)


ABSTRACT = "Abstract paintings in eight styles, drawn by the program itself; needs no network."


def _table(title: str, rows: list[tuple[str, str, str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = [
        f"  {name:<{widths[0]}}  {what:<{widths[1]}}  {note}".rstrip() for name, what, note in rows
    ]
    return [title, *lines, ""]
