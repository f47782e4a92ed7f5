"""What is said of a cube that has too few bands for a model of any bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xcloudmask._wavelengths import Known, Unknown
from xcloudmask.errors import BandNotFoundError, InputError
from xcloudmask.models.openbands import FEWEST_BANDS, OpenBand

__all__ = ["no_values", "no_wavelength", "too_few", "why_unknown"]

_SHOWN = 8
"""Bands that are told of in a message."""


def too_few(
    wanted: Sequence[OpenBand], left_out: Mapping[str, str], known: Sequence[Known | Unknown]
) -> BandNotFoundError:
    """Say that fewer than three bands have a known wavelength."""
    found = ", ".join(f"{band.name} ({band.wavelength_nm[1]:g} nm)" for band in wanted) or "none"
    sensors = next((one.sensors for one in known if isinstance(one, Unknown) and one.sensors), ())
    which = f" with one of {', '.join(sensors)}" if sensors else " if the names are those of a sensor"
    return BandNotFoundError(
        f"The model needs {FEWEST_BANDS} bands or more, of known wavelength. Found: {found}.{_listed(left_out)} Type "
        f"sensor={which}; or bands={{'red': '<name or position>', ...}}; or give each band the attribute "
        "wavelength_nm, or the cube a coordinate wavelength (with units) along the bands."
    )


def no_wavelength(name: str, one: Unknown) -> BandNotFoundError:
    """Say that a band was asked for whose wavelength nothing tells."""
    return BandNotFoundError(
        f"bands= has {name!r}, whose wavelength is not known: {why_unknown(one)}. Expected a band of a known sensor, a "
        f"common name, or a declared wavelength. Type sensor=; bands={{'red': {name!r}, ...}} with what it is; or "
        f"cube[{name!r}].attrs['wavelength_nm'] = 665."
    )


def no_values(kept: Sequence[str], refused: Mapping[str, str]) -> InputError:
    """Say that the values of bands cannot be understood."""
    return InputError(
        f"The model needs reflectance, and kelvin of thermal bands. Found: {', '.join(kept) or 'none'}."
        f"{_listed(refused)} Expected scale_factor and add_offset in the attributes or along time, or sensor= where "
        "that fixes them. Type scale=(1e-4, 0.0) for reflectance = DN * 0.0001, scale=1 for reflectance and kelvin "
        f"themselves, or scale={{{next(iter(refused), 'red')!r}: (1e-4, 0.0), ...}} for each band."
    )


def why_unknown(one: Known | Unknown) -> str:
    """Return what is wrong with the wavelengths of a band; empty where they are known."""
    if isinstance(one, Known):
        return ""
    return f"{one.why}; sensor= with one of {', '.join(one.sensors)} would tell" if one.sensors else one.why


def _listed(left_out: Mapping[str, str]) -> str:
    shown = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:_SHOWN])
    more = f"; and {len(left_out) - _SHOWN} more" if len(left_out) > _SHOWN else ""
    return f" Not usable: {shown}{more}." if left_out else ""
