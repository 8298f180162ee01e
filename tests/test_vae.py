"""Any autoencoder by name, folder or hub id; a latent depends on its own picture only."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from huggingface_hub.errors import GatedRepoError
from safetensors.torch import load_file, save_file

from liquidgen.errors import LiquidgenError
from liquidgen.preset_files import preset_names, read_preset
from liquidgen.vae import Vae, load_vae
from liquidgen.vae_files import VaePreset, vae_short_name

WEIGHTS = "diffusion_pytorch_model.safetensors"


def pictures(count: int, size: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)


@pytest.fixture(scope="session")
def kl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained AutoencoderKL of FLUX.1's kind, small: 16 channels, 4x, no shift stated."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("vaes") / "kl"
    config: dict[str, Any] = {
        "block_out_channels": (32, 32, 32),
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "latent_channels": 16,
        "scaling_factor": 0.3611,
    }
    AutoencoderKL(**config).save_pretrained(folder)
    return folder


@pytest.fixture
def broken(vae_folder: Path, tmp_path: Path) -> Path:
    """A copy of the small autoencoder, to be damaged."""
    shutil.copytree(vae_folder, tmp_path / "broken")
    return tmp_path / "broken"


@pytest.fixture(params=["tiny kind", "kl kind", "pixels"])
def vae(request: pytest.FixtureRequest, vae_folder: Path, kl_folder: Path) -> Vae:
    names = {"tiny kind": str(vae_folder), "kl kind": str(kl_folder), "pixels": "pixels"}
    return load_vae(names[request.param])


def test_shapes_and_types(vae: Vae):
    latents = vae.encode(pictures(3))
    side = 32 // vae.factor
    assert latents.shape == (3, vae.channels, side, side)
    assert latents.dtype == torch.float32
    decoded = vae.decode(latents)
    assert decoded.shape == (3, 3, 32, 32)
    assert decoded.dtype == torch.uint8


@pytest.mark.parametrize("threads", [1, 2])
def test_a_latent_and_a_picture_depend_on_themselves_only(vae: Vae, threads: int):
    images = pictures(7)
    alone = torch.cat([vae.encode(image[None]) for image in images])
    torch.set_num_threads(threads)
    try:
        order = torch.tensor([6, 2, 0, 5, 1, 4, 3])
        assert torch.equal(vae.encode(images), alone)
        assert torch.equal(vae.encode(images[order]), alone[order])
        assert torch.equal(vae.encode(images[2:5]), alone[2:5])
        decoded = torch.cat([vae.decode(latent[None]) for latent in alone])
        assert torch.equal(vae.decode(alone[order]), decoded[order])
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(1)


def test_what_is_encoded_is_the_mean_of_the_posterior(kl_folder: Path):
    vae = load_vae(str(kl_folder))
    model: Any = AutoencoderKL.from_pretrained(kl_folder)
    with torch.inference_mode():
        posterior = model.encode(pictures(1).float() / 127.5 - 1).latent_dist
    assert torch.allclose(vae.encode(pictures(1)), posterior.mean, atol=1e-5)
    assert (vae.scaling_factor, vae.shift_factor) == (0.3611, 0.0)


def test_pixels_come_back_as_they_went_even_from_bf16():
    vae = load_vae("pixels")
    every = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    latents = vae.encode(every)
    assert (latents.min(), latents.max()) == (-1, 1)
    assert torch.equal(vae.decode(latents.bfloat16()), every)


def test_the_hash_is_of_the_weights_and_not_of_the_file(vae_folder: Path, broken: Path):
    weights = load_file(broken / WEIGHTS)
    for tensor in weights.values():
        tensor.copy_(tensor.bfloat16())
    save_file(weights, broken / WEIGHTS)
    rounded = load_vae(str(broken)).weights_hash
    save_file({name: tensor.bfloat16() for name, tensor in weights.items()}, broken / WEIGHTS)
    assert load_vae(str(broken)).weights_hash == rounded == load_vae(str(vae_folder)).weights_hash
    weights["encoder.layers.0.weight"][0] += 1
    save_file(weights, broken / WEIGHTS)
    assert load_vae(str(broken)).weights_hash != rounded


def test_missing_weights_are_refused(broken: Path):
    weights = load_file(broken / WEIGHTS)
    del weights["encoder.layers.0.weight"]
    save_file(weights, broken / WEIGHTS)
    with pytest.raises(
        LiquidgenError, match=r"lacks 1 weights, such as encoder\.layers\.0\.weight"
    ):
        load_vae(str(broken))


def test_weights_of_another_shape_are_refused(broken: Path):
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"latent_channels": 5}))
    with pytest.raises(LiquidgenError):
        load_vae(str(broken))


def test_a_cut_file_is_refused(broken: Path):
    path = broken / WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(LiquidgenError, match="does not load"):
        load_vae(str(broken))


def test_a_pickle_is_never_read(broken: Path):
    torch.save(load_file(broken / WEIGHTS), broken / "diffusion_pytorch_model.bin")
    (broken / WEIGHTS).unlink()
    with pytest.raises(LiquidgenError, match="does not load"):
        load_vae(str(broken))


@pytest.mark.parametrize("config", ["", "[]", "{}", '{"_class_name": "UNet2DModel"}'])
def test_a_folder_of_something_else_is_refused(tmp_path: Path, config: str):
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(LiquidgenError, match=r"is no autoencoder|is a UNet2DModel"):
        load_vae(str(tmp_path))


@pytest.mark.parametrize(("name", "hint"), [("fluxx", "flux"), ("pixel", "pixels"), ("q", "taef1")])
def test_an_unknown_name_is_answered_by_the_nearest(name: str, hint: str):
    with pytest.raises(LiquidgenError, match="no autoencoder") as caught:
        load_vae(name)
    assert hint in caught.value.hint


def test_the_hub_out_of_reach_is_one_line_with_a_way_out():
    with pytest.raises(LiquidgenError) as caught:
        load_vae("nobody-here/nothing:vae")
    assert "nobody-here/nothing" in caught.value.message
    assert "\n" not in caught.value.message


def test_flux_falls_to_flux_open_where_it_is_gated_and_says_so(
    vae_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def download(repository: str, allow_patterns: list[str]) -> str:
        assert allow_patterns == ["vae/config.json", "vae/*.safetensors"]
        if repository.startswith("black-forest-labs/"):
            answer = SimpleNamespace(headers={}, request=None)
            raise GatedRepoError("gated", response=answer)  # pyright: ignore[reportArgumentType]
        return str(vae_folder.parent)

    monkeypatch.setattr("liquidgen.vae_files.snapshot_download", download)
    monkeypatch.setattr("liquidgen.vae._check_preset", lambda vae: None)
    (vae_folder.parent / "vae").symlink_to(vae_folder)
    with caplog.at_level("INFO", "liquidgen"):
        vae = load_vae("flux")
    assert vae.source == "ostris/OpenFLUX.1:vae"
    assert "using flux-open" in caplog.text


@pytest.mark.parametrize("name", preset_names("vaes"))
def test_every_preset_that_ships_is_valid_and_states_its_licence(name: str):
    preset = read_preset("vaes", name, VaePreset)
    assert preset.licence
    assert preset.note
    assert preset.fallback is None or preset.fallback in preset_names("vaes")


def test_short_names_for_folders(vae_folder: Path):
    assert vae_short_name("flux-open") == "flux-open"
    assert vae_short_name(str(vae_folder) + "/") == "small"
    assert vae_short_name("owner/My.Model:vae") == "My.Model"


@pytest.mark.parametrize("size", [64, 256])
def test_real_weights_restore_a_real_picture(shared: Path, size: int):
    """taef1 reaches 24 dB and more on paintings; the latents lie where FLUX.1's do."""
    import numpy as np
    from PIL import Image

    from liquidgen.sources.pictures import fit

    vae = load_vae(str(shared / "vae/taef1"))
    assert (vae.channels, vae.factor, vae.scaling_factor, vae.shift_factor) == (16, 8, 1.0, 0.0)
    path = sorted((shared / "data/paintings/images").rglob("*.jpg"))[0]
    image = fit(Image.open(path).convert("RGB"), size)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    error = (vae.decode(vae.encode(pixels)).float() - pixels.float()).square().mean()
    assert 20 * torch.log10(255 / error.sqrt()) > 20
