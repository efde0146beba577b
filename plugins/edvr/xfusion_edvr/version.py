"""Version of this distribution and of the results of its backends."""

__version__ = "0.1.0"
