"""Ophyd devices: two cameras, the delay generator, the shutter, and the pair as one."""
