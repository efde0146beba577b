"""Pictures and movies of a reconstruction: arrays in, image files out."""
