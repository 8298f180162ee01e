"""liquidgen: train an image generator of your own, from scratch, on your own pictures."""

__version__ = "0.1.0"
