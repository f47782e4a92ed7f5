"""Colours of shares: from the white of clouds to the green of clear land."""

from __future__ import annotations

from xcloudmask._pictures import hex_to_rgb

__all__ = ["clear_ramp"]

_CLOUDY, _CLEAR = "#f4f6f8", "#1f5e35"


def clear_ramp(steps: int) -> list[str]:
    """Return colours from cloudy to clear, which grow darker evenly: they are told apart without seeing colour.

    Examples
    --------
    >>> clear_ramp(2)
    ['#f4f6f8', '#1f5e35']
    """
    low, high = hex_to_rgb(_CLOUDY), hex_to_rgb(_CLEAR)
    shades = [index / (steps - 1) for index in range(steps)]
    return [
        "#" + "".join(f"{round(a + (b - a) * shade):02x}" for a, b in zip(low, high, strict=True)) for shade in shades
    ]
