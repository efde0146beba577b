"""Version of this distribution and of the results of its backend."""

__version__ = "0.1.0"
