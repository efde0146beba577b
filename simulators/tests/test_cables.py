import asyncio

from xfusion_simulators.ioc.cables import Shot, listen, send
from xfusion_simulators.launch import free_port
from xfusion_simulators.mesh import MeshPose
from xfusion_simulators.scene import Beam
from xfusion_simulators.slits import SlitOpening


def test_a_shot_arrives_at_the_cameras_with_all_that_stood_in_the_beam():
    shots = [
        Shot(1, 0.0, 250.5, Beam(shutter_open=False)),
        Shot(2, 10.0, 20.0, Beam(True, False, MeshPose(1.5, -2.5, 10.0), SlitOpening(100.0, 50.0))),
    ]

    async def carry():
        arrived = asyncio.Queue()
        port = free_port()
        cable = await listen(port, arrived.put)
        try:
            for shot in shots:
                send(shot, port)
            return [await asyncio.wait_for(arrived.get(), 10) for _ in shots]
        finally:
            cable.close()

    assert sorted(asyncio.run(carry()), key=lambda shot: shot.number) == shots
