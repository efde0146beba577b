from dataclasses import replace

import numpy as np
import pytest
from xfusion_simulators.fresnel import COPPER, intensity
from xfusion_simulators.mesh import G400_63_5_UM, Mesh
from xfusion_simulators.scintillator import scintillator_light
from xfusion_simulators.slits import SlitOpening

WHOLE = Mesh(broken_share=0, filled_share=0)


def test_in_contact_the_mesh_absorbs_as_beer_and_lambert_say():
    contact = replace(WHOLE, distance_m=0.0, bandwidth=0.0)
    light = contact.light((124, 124), 0.5)
    hole, bar = light[61:63, 61:63], light[0, 0]
    np.testing.assert_allclose(hole, 1.0, atol=1e-6)
    assert bar == pytest.approx(np.exp(-COPPER.mu_per_cm * 20e-4), rel=1e-5)
    row = contact.thickness(np.zeros(3), [0.0, 18.5, 31.0])
    np.testing.assert_allclose(row, [0, 10, 20], atol=1e-3)  # half the copper at the hole's edge


def test_flight_moves_light_and_loses_none():
    axis = (np.arange(248) - 123.5) * 0.5  # two cells, so that the joined edges fit
    copper = WHOLE.thickness(axis[:, None], axis[None, :])
    contact, far = (intensity(copper, 0.5, distance_m=z) for z in (0.0, 0.4))
    assert far.mean() == pytest.approx(contact.mean(), rel=1e-4)
    assert far.max() > 1.5  # rims, where the round edges of the bars focus
    clear = intensity(np.zeros((32, 32), np.float32), 1.0)
    np.testing.assert_allclose(clear, 1.0, atol=1e-5)


def test_the_mesh_moves_and_turns_with_its_stage():
    shape, pixel_um = (100, 160), 2.5
    still = WHOLE.light(shape, pixel_um)
    moved = WHOLE.light(shape, pixel_um, (5.0, -7.5))
    np.testing.assert_allclose(moved[10:-10, 10:-10], still[8:-12, 13:-7], atol=2e-3)
    a_pitch_on = WHOLE.light(shape, pixel_um, (62.0, 0.0))
    np.testing.assert_allclose(a_pitch_on, still, atol=2e-3)
    turned = WHOLE.light((101, 101), pixel_um, rotation_deg=90.0)
    np.testing.assert_allclose(turned, np.rot90(WHOLE.light((101, 101), pixel_um)), atol=2e-3)
    # Every hole is where position and rotation say.
    tilted = WHOLE.light((201, 301), pixel_um, (4.0, -9.0), 5.0)
    cosine, sine = np.cos(np.radians(5.0)), np.sin(np.radians(5.0))
    cells = np.stack(np.meshgrid(range(-3, 4), range(-5, 6)), axis=-1).reshape(-1, 2)
    for offset, bright in ((0.0, True), (0.5, False)):
        on_mesh = (cells + offset) * 62.0
        row = 100 + (4.0 + cosine * on_mesh[:, 0] - sine * on_mesh[:, 1]) / pixel_um
        column = 150 + (-9.0 + sine * on_mesh[:, 0] + cosine * on_mesh[:, 1]) / pixel_um
        seen = tilted[np.rint(row).astype(int), np.rint(column).astype(int)]
        assert (np.abs(seen - (1.0 if bright else 0.7)) < 0.06).all()


def test_defects_are_seeded_and_the_images_are_kept():
    broken = Mesh(broken_share=0.1, filled_share=0.1)
    light = broken.light((150, 150), 2.5)
    assert light is broken.light((150, 150), 2.5)
    assert not light.flags.writeable
    assert (light != replace(broken, seed=1).light((150, 150), 2.5)).any()
    assert np.abs(light - WHOLE.light((150, 150), 2.5)).max() > 0.3
    assert G400_63_5_UM.light((20, 20), 2.5).shape == (20, 20)


def test_samples_are_fine_enough_for_the_phase_behind_the_edges():
    coarse = WHOLE.light((40, 40), 8.0, supersample=1)
    fine = WHOLE.light((40, 40), 8.0, supersample=8)
    np.testing.assert_allclose(coarse, fine, atol=0.03)


def test_slits_cut_a_rectangle_out_of_the_beam():
    light = SlitOpening(100.0, 50.0, 10.0, -20.0).light((101, 101), 2.5)
    inside = np.argwhere(light > 0.5)
    np.testing.assert_allclose(inside.mean(axis=0), [54, 42], atol=0.5)
    assert np.ptp(inside, axis=0) == pytest.approx([38, 18])  # both ends have half of the light
    assert light.max() == pytest.approx(1.0, abs=1e-4)
    assert not SlitOpening(0.0, 50.0).light((101, 101), 2.5).any()


def test_dust_takes_light_away_in_a_few_places():
    light = scintillator_light((160, 448), 25, 4, seed=3)
    assert light.max() == 1.0
    assert 0.4 < light.min() < 0.9
    assert 0.005 < (light < 0.97).mean() < 0.05
    np.testing.assert_array_equal(light, scintillator_light((160, 448), 25, 4, seed=3))
    assert (light != scintillator_light((160, 448), 25, 4, seed=4)).any()
