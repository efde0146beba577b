"""Ophyd devices: the two cameras, the delay generator, the shutter, and the pair as one detector."""
