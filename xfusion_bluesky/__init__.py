"""Two x-ray cameras, one movie that is sharp and fast."""

__version__ = "0.1.0"
