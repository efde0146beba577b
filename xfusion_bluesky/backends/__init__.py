"""The plugin contract: what a reconstruction backend is, how it is found, driven and checked."""
