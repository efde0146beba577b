"""A simulated dual-camera beamline: cameras, delay generator, shutter and sample on one scene.

Start it with :class:`xfusion_simulators.launch.SimulatedBeamline`.
"""
