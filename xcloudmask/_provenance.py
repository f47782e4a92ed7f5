"""How a mask was made, as one text among its attributes."""

from __future__ import annotations

import json

from xcloudmask.models.spec import WAVELENGTHS
from xcloudmask.prepare import Prepared

__all__ = ["settings_text"]


def settings_text(prepared: Prepared) -> str:
    """Return the settings that change the codes, and have no attribute of their own, as compact JSON.

    What describes the input (names of bands, scales, nodata values) may differ between the dates of one series, and
    the layout of the chunks between its parts: neither is a setting. The device and the batch size are none either.

    Parameters
    ----------
    prepared
        A cube, ready for the graph.

    Returns
    -------
    str
        Keys in order: the same text for the same settings, in any process and for any layout of the chunks.
    """
    spec, settings, geometry = prepared.spec, prepared.settings, prepared.geometry
    told: dict[str, str | int] = {
        "bands": " ".join(role for role, there in zip(spec.bands, settings.present, strict=True) if there),
        "factor": settings.factor,
        "precision": settings.precision,
        "upsample": settings.upsample,
    }
    if settings.backend != "auto":
        told["backend"] = settings.backend
    if settings.normalize == "ocm":
        side, step = settings.tile_px[0], settings.step_px or settings.tile_px[0]
        told |= {"patch_px": side, "overlap_px": side - step}
    elif settings.step_px is not None:
        told |= {"stride": settings.step_px * settings.factor, "window_px": spec.window_px}
    else:
        told["halo_px"] = geometry.halo_cells * settings.factor
        if settings.normalize != "chunk":
            told["tile_px"] = spec.tile_px
    if spec.level:
        known = settings.scale is not None or prepared.scales is not None
        told["level"] = "known" if known else "unknown"
    if spec.classes:
        # The file of a foreign model, which the sha256 stands for, does not say what is made of it.
        told |= {"classes": " ".join(spec.classes), "output": spec.output, "normalization": spec.normalization}
        if spec.factory:
            told["factory"] = f"{spec.factory} {json.dumps(dict(spec.config), sort_keys=True)}"
    wavelengths_nm = dict(spec.config).get(WAVELENGTHS)
    if wavelengths_nm:
        # Cubes have such bands under any name and in any order; what they are is what changes the codes.
        told["bands"] = " ".join(f"{centre:g}" for _, centre, _ in sorted(wavelengths_nm)) + " nm"
        return json.dumps(told, sort_keys=True, separators=(",", ":"))
    if spec.normalization in {"fixed", "percentile"}:
        # These come from the card, which the sha256 of the weights does not cover.
        told["normalization"] = spec.normalization
    told |= {
        name: " ".join(map(repr, numbers))
        for name in ("mean", "std", "low", "high")
        if (numbers := getattr(spec, name))
    }
    return json.dumps(told, sort_keys=True, separators=(",", ":"))
