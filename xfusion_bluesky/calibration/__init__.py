"""Calibration of the pair of cameras: where, when and how bright a pixel of one is in the other."""
