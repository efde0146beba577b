"""Channel Access servers of the simulated beamline (caproto), all in one process."""
