import numpy as np
import pytest

from xcloudmask.errors import ArgumentError
from xcloudmask.sensors import SENSORS
from xcloudmask.simulate.atmosphere import Air, gas_transmission, path_reflectance, rayleigh_optical_depth
from xcloudmask.simulate.spectra import KNOTS_NM, SPECTRA, sample

BLUE, RED, NIR = (457.5, 490.0, 522.5), (650.0, 665.0, 680.0), (842.0, 865.0, 885.0)
SWIR, SWIR2 = (1565.0, 1610.0, 1655.0), (2110.0, 2200.0, 2290.0)


@pytest.mark.parametrize("name", SPECTRA)
def test_every_spectrum_is_sound(name):
    spectrum = SPECTRA[name]
    assert len(spectrum.reflectance) == len(KNOTS_NM)
    assert 0 < min(spectrum.reflectance) <= max(spectrum.reflectance) < 1
    assert 0.85 < spectrum.emissivity < 1
    for sensor in SENSORS.values():
        assert all(0 <= sample(name, wavelength_nm=band.wavelength_nm) <= 1 for band in sensor.bands)


@pytest.mark.parametrize("name", ["crop", "grass", "broadleaf", "conifer"])
def test_plants_have_a_red_edge_and_hold_water(name):
    red, nir, swir = (sample(name, wavelength_nm=band) for band in (RED, NIR, SWIR))
    assert nir > 4 * red
    assert swir < 0.8 * nir


@pytest.mark.parametrize("name", ["fine snow", "coarse snow"])
def test_snow_is_bright_in_red_and_dark_in_the_swir(name):
    red, swir = (sample(name, wavelength_nm=band) for band in (RED, SWIR))
    assert red > 0.9
    assert (red - swir) / (red + swir) > 0.4  # NDSI


def test_coarse_snow_is_darker_in_the_infrared():
    for band in (NIR, SWIR):
        assert sample("coarse snow", wavelength_nm=band) < sample("fine snow", wavelength_nm=band)


def test_water_absorbs_the_infrared_and_deserts_are_red():
    assert sample("clear water", wavelength_nm=NIR) < 0.2 * sample("clear water", wavelength_nm=BLUE)
    assert sample("sand", wavelength_nm=RED) > 1.5 * sample("sand", wavelength_nm=BLUE)


def test_clay_absorbs_at_2200_nm():
    at = {wave: sample("red soil", wavelength_nm=(wave, wave, wave)) for wave in (2100.0, 2200.0)}
    assert at[2200.0] < at[2100.0]


def test_heat_is_emissivity():
    assert sample("clear water", wavelength_nm=(10_600.0, 10_900.0, 11_200.0)) == SPECTRA["clear water"].emissivity


@pytest.mark.parametrize("band", [(700.0, 600.0, 800.0), (300.0, 340.0, 380.0), (2400.0, 2550.0, 2700.0)])
def test_wrong_bands(band):
    with pytest.raises(ArgumentError):
        sample("loam", wavelength_nm=band)


def test_unknown_material():
    with pytest.raises(ArgumentError, match="unknown"):
        sample("cheese", wavelength_nm=RED)


def test_rayleigh():
    # Bodhaine et al. (1999), table 3: 0.2236 at 450 nm, 0.0973 at 550 nm, standard pressure.
    assert rayleigh_optical_depth(550.0) == pytest.approx(0.0973, rel=0.01)
    assert rayleigh_optical_depth(450.0) / rayleigh_optical_depth(900.0) == pytest.approx(16.7, rel=0.03)
    assert rayleigh_optical_depth(550.0, pressure_hpa=506.6) == pytest.approx(0.0486, rel=0.02)


def test_path_is_blue_and_grows_with_the_sun_s_angle():
    path = [path_reflectance(wave, air=Air()) for wave in (443.0, 560.0, 865.0, 1610.0)]
    assert np.all(np.diff(path) < 0)
    assert path_reflectance(490.0, air=Air(sun_zenith_deg=65.0)) > path_reflectance(490.0, air=Air(sun_zenith_deg=25.0))


def test_gases():
    assert gas_transmission(1375.0, air=Air()) < 0.01
    assert 0.3 < gas_transmission(945.0, air=Air()) < 0.8
    assert gas_transmission(865.0, air=Air()) > 0.97
    assert gas_transmission(945.0, air=Air(water_cm=4.0)) < gas_transmission(945.0, air=Air(water_cm=0.5))
