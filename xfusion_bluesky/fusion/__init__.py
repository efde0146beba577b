"""The science floor: arrays in, arrays out; no control system, catalogue or network."""
