"""Caches of latents on the disk: the format, in cache/README.md, and its reader and writer."""

from liquidgen.latents.manifest import Manifest, Settings, VaeRecord, read_manifest
from liquidgen.latents.reader import LatentCache

__all__ = ["LatentCache", "Manifest", "Settings", "VaeRecord", "read_manifest"]
