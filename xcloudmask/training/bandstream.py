"""The stream of training samples with any bands: sample `i` depends on the seed and on `i` alone.

Real patches with all their bands, thumbnails, clear patches under simulated or real clouds, and simulated scenes of
many sensors and of bands that no sensor has. What a network is fed of a window is the matter of
`xcloudmask.training.bandfeed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xcloudmask.errors import ArgumentError
from xcloudmask.sensors import SENSORS, get_sensor
from xcloudmask.simulate.atmosphere import draw_air, see_through_air
from xcloudmask.simulate.clouds import add_clouds
from xcloudmask.simulate.surface import draw_surface
from xcloudmask.training.bandfeed import BandFeed
from xcloudmask.training.bandwindow import (
    BandWindow,
    Wavelength,
    choose_bands,
    photographed,
    relief,
    snow,
    water,
)
from xcloudmask.training.data import GUESS_DROPPED, Patch, only_bands, patch_wavelengths
from xcloudmask.training.labels import CLEAR, NOT_CLOUD, SHADOW, allowed_from_scene, guess_one
from xcloudmask.training.options import Mixture
from xcloudmask.training.paste import paste_clouds
from xcloudmask.training.patchwindow import cut_window

__all__ = ["BandStream", "BandWindows", "window_of"]

_KINDS = ("real", "thumbnails", "clouded", "landscapes", "pasted")
_TOP_OF_ATMOSPHERE = 0.5
"""Share of simulated surfaces seen through the air."""
_WATER, _RELIEF = 0.12, 0.1
"""Shares of clear patches whose ground is changed."""
_MADE_UP = 0.2
"""Share of simulated scenes with bands that no sensor has, where all sensors are allowed."""
_COARSE_M = 200.0
_SWIR_NM = (1500.0, 2400.0)
"""Where snow is dark and cloud is not."""
_SOLAR_NM = (420.0, 2450.0)
_HEAT_NM = (8500.0, 12_500.0)
_VAPOUR_NM = ((1345.0, 1465.0), (1790.0, 1980.0))
"""Where water vapour hides the ground; the simulated air does without. Only the cirrus bands of sensors lie there."""


class BandWindows:
    """Windows by their number, before they are made ready for a network.

    Parameters
    ----------
    labelled
        Labelled patches of known sensors; the fully clear ones also serve as backgrounds.
    thumbnails
        Labelled pictures in red, green and blue.
    backgrounds
        Clear patches.
    mixture
        Shares, and sensors.
    most
        No more bands than so many are shown at once; 0 shows all that there are, in their order.
    roles
        Only these bands are shown, and of sensors that lack one no scene is simulated; none for all bands.
    seed
        Seed of all windows.

    Raises
    ------
    ArgumentError
        No kind of sample that has a share has patches to draw from.

    Notes
    -----
    Training on random sets of bands: Francis et al. (2022), IEEE TGRS 60, arXiv:2111.08349.
    """

    def __init__(
        self,
        *,
        labelled: Sequence[Patch],
        thumbnails: Sequence[Patch],
        backgrounds: Sequence[Patch],
        mixture: Mixture,
        most: int = 0,
        roles: Sequence[str] = (),
        seed: int,
    ) -> None:
        self.mixture, self.most, self.roles, self.seed = mixture, most, tuple(roles), seed
        left_out = {get_sensor(name).name for name in mixture.left_out}
        labelled, thumbnails, backgrounds = (
            [self._shown(patch) for patch in pool if patch.sensor and patch.sensor not in left_out]
            for pool in (labelled, thumbnails, backgrounds)
        )
        # Real shadows are few: those patches are drawn twice as often.
        self.labelled = [*labelled, *(patch for patch in labelled if (patch.allowed == SHADOW).any())]
        self.thumbnails = thumbnails
        every = [patch for patch in (*labelled, *thumbnails) if patch.level_known]
        self.backgrounds = [*backgrounds, *(patch for patch in every if patch.is_clear)]
        self.donors = [patch for patch in every if 0.02 < float(((patch.allowed & NOT_CLOUD) == 0).mean()) < 0.75]
        wanted = [name for name in mixture.sensors or SENSORS if get_sensor(name).name not in left_out]
        self._sensors = [name for name in wanted if set(self.roles) <= {band.role for band in get_sensor(name).bands}]
        self._made_up = 0.0 if mixture.sensors or self.roles else _MADE_UP
        self._kinds, self._shares = self._possible_kinds()

    def __call__(self, index: int) -> tuple[BandWindow, np.random.Generator]:
        """Return a window, and the source of randomness for what comes after it."""
        rng = np.random.default_rng((self.seed, index))
        return photographed(self._draw(rng), rng), rng

    def _shown(self, patch: Patch) -> Patch:
        return only_bands(patch, [role for role in patch.bands if role in self.roles]) if self.roles else patch

    def _possible_kinds(self) -> tuple[list[str], npt.NDArray[np.float64]]:
        there = {
            "real": bool(self.labelled),
            "thumbnails": bool(self.thumbnails),
            "clouded": bool(self.backgrounds),
            "landscapes": bool(self._sensors),
            "pasted": bool(self.backgrounds and self.donors),
        }
        shares = {kind: share for kind in _KINDS if there[kind] and (share := getattr(self.mixture, kind)) > 0}
        if not shares:
            raise ArgumentError(
                f"There is nothing to draw samples from: {len(self.labelled)} labelled patches, "
                f"{len(self.thumbnails)} thumbnails, {len(self.backgrounds)} clear ones. Give such data, or "
                "landscapes = 1 under [mixture]."
            )
        return list(shares), np.array(list(shares.values())) / sum(shares.values())

    def _draw(self, rng: np.random.Generator) -> BandWindow:
        kind = self._kinds[rng.choice(len(self._kinds), p=self._shares)]
        if kind == "landscapes":
            return self._simulate(self._landscape(rng), rng)
        pool = {"real": self.labelled, "thumbnails": self.thumbnails}.get(kind, self.backgrounds)
        patch = pool[rng.integers(len(pool))]
        if kind == "pasted":
            return self._paste(patch, rng)
        window = _some_guessed(self._picked(self._cut(patch, pool, rng), rng), rng, patch)
        if kind != "clouded":
            return window
        snowy = self._snow(self.mixture.snow, window.wavelengths_nm)
        for chance, vary in ((_WATER, water), (_RELIEF, relief), (snowy, snow)):
            if rng.random() < chance:
                window = vary(window, rng)
        return self._simulate(window, rng)

    def _picked(self, window: BandWindow, rng: np.random.Generator) -> BandWindow:
        return window.picked(self._choose(window.roles, rng)) if self.most else window

    def _choose(self, roles: Sequence[str], rng: np.random.Generator) -> list[int]:
        return choose_bands(roles, rng, most=self.most, whole=self.mixture.all_bands)

    def _snow(self, share: float, bands: Sequence[Wavelength]) -> float:
        seen = any(_SWIR_NM[0] < centre < _SWIR_NM[1] for _, centre, _ in bands)
        return share + self.mixture.swir_snow * seen

    def _cut(self, patch: Patch, pool: Sequence[Patch], rng: np.random.Generator) -> BandWindow:
        image, valid, allowed, resolution_m = cut_window(
            patch,
            [other for other in pool if other.source == patch.source and other.bands == patch.bands],
            size_px=self.mixture.size_px,
            mixed=self.mixture.mixed_resolution,
            rng=rng,
        )
        return replace(window_of(patch, image=image), valid=valid, allowed=allowed, resolution_m=resolution_m)

    def _landscape(self, rng: np.random.Generator) -> BandWindow:
        shape = (self.mixture.size_px, self.mixture.size_px)
        bands, roles, resolution_m = self._scene_bands(rng)
        # Drawn only where it is wanted, so that the samples of older runs stay what they were.
        snowy = self._snow(self.mixture.snowscapes, bands)
        icy = snowy > 0 and rng.random() < snowy
        surface = draw_surface(shape, bands=bands, resolution_m=resolution_m, rng=rng, biome="snow" if icy else None)
        image = surface.reflectance
        if rng.random() < _TOP_OF_ATMOSPHERE:
            image = see_through_air(image, bands=bands, air=draw_air(rng, sun_zenith_deg=surface.sun.zenith_deg))
        return BandWindow(
            image=image,
            wavelengths_nm=bands,
            roles=roles,
            valid=np.ones(shape, bool),
            allowed=np.full(shape, CLEAR, np.uint8),
            resolution_m=resolution_m,
            sun=surface.sun,
        )

    def _scene_bands(self, rng: np.random.Generator) -> tuple[tuple[Wavelength, ...], tuple[str, ...], float]:
        """Draw the wavelengths and roles of a simulated scene, and the size of its pixels."""
        if rng.random() < self._made_up:
            bands, finest_m = _made_up_bands(rng, most=self.most or 13), 20.0
            roles: tuple[str, ...] = ("",) * len(bands)
        else:
            sensor = get_sensor(self._sensors[rng.integers(len(self._sensors))])
            every = tuple(band.role for band in sensor.bands)
            chosen = self._chosen(every, rng)
            bands = tuple(sensor.bands[index].wavelength_nm for index in chosen)
            roles = tuple(every[index] for index in chosen)
            finest_m = min(band.resolution_m for band in sensor.bands)
        if finest_m > _COARSE_M:
            return bands, roles, finest_m * float(np.exp(rng.uniform(-0.7, 0.7)))
        mixed = self.mixture.mixed_resolution
        return bands, roles, float(np.exp(rng.uniform(np.log(9.0), np.log(50.0)))) if mixed else 20.0

    def _chosen(self, every: Sequence[str], rng: np.random.Generator) -> Sequence[int]:
        """Choose the bands of a simulated scene, by their positions among those of its sensor."""
        if self.most:
            return self._choose(every, rng)
        return [every.index(role) for role in self.roles] or range(len(every))

    def _simulate(self, window: BandWindow, rng: np.random.Generator) -> BandWindow:
        if rng.random() < self.mixture.clear:
            return replace(window, allowed=np.full(window.valid.shape, CLEAR, np.uint8))
        scene = add_clouds(
            window.image,
            wavelengths_nm=[band[1] for band in window.wavelengths_nm],
            resolution_m=window.resolution_m,
            rng=rng,
            sun=window.sun,
        )
        return replace(window, image=scene.image, allowed=allowed_from_scene(scene))

    def _paste(self, patch: Patch, rng: np.random.Generator) -> BandWindow:
        donor = self.donors[rng.integers(len(self.donors))]
        common = [role for role in patch.bands if role in donor.bands]
        ground, above = (
            one.picked([one.roles.index(role) for role in common])
            for one in (self._cut(patch, self.backgrounds, rng), self._cut(donor, self.donors, rng))
        )
        chosen = self._choose(common, rng) if self.most else range(len(common))
        ground, above = ground.picked(list(chosen)), above.picked(list(chosen))
        image, allowed = paste_clouds(
            ground.image,
            above.image,
            above.allowed,
            resolution_m=ground.resolution_m,
            rng=rng,
            wavelengths_nm=[band[1] for band in ground.wavelengths_nm],
        )
        pasted = replace(
            ground,
            image=image,
            allowed=allowed,
            valid=ground.valid & above.valid,
            weight=min(ground.weight, above.weight),
        )
        return _some_guessed(pasted, rng, patch, donor)


class BandStream(torch.utils.data.Dataset[tuple[Tensor, Tensor, Tensor, Tensor]]):
    """Map from a sample's number to (image, side, allowed, weight).

    Parameters
    ----------
    windows
        Where samples come from.
    feed
        What the network takes.
    length
        Number of samples.
    """

    def __init__(self, windows: BandWindows, *, feed: BandFeed, length: int) -> None:
        self.windows, self.feed, self.length = windows, feed, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return image, side (what the network is told besides), allowed (y, x) and weight of sample `index`."""
        window, rng = self.windows(index)
        mixture = self.windows.mixture
        if "nir" in self.windows.roles and "nir" in window.roles and rng.random() < mixture.nir_dropped:
            window = _without_nir(window)
        known = window.level_known and rng.random() >= mixture.level_dropped
        image, side = self.feed(window, level_known=known, rng=rng)
        allowed = window.allowed if mixture.partial_labels else guess_one(window.allowed)
        weight = torch.tensor(window.weight, dtype=torch.float32)
        return torch.from_numpy(image), torch.from_numpy(side), torch.from_numpy(allowed), weight


def window_of(patch: Patch, *, image: npt.NDArray[np.float32] | None = None) -> BandWindow:
    """Return a whole patch as a window.

    Parameters
    ----------
    patch
        Of a known sensor.
    image
        (band, y, x) reflectance in place of the patch's own.

    Returns
    -------
    BandWindow

    Raises
    ------
    InputError
        The wavelengths of its bands are not known.
    """
    return BandWindow(
        image=patch.image.astype(np.float32) * np.float32(1e-4) if image is None else image,
        wavelengths_nm=patch_wavelengths(patch),
        roles=patch.bands,
        valid=patch.valid,
        allowed=patch.allowed,
        resolution_m=patch.resolution_m,
        level_known=patch.level_known,
        weight=patch.weight,
    )


def _some_guessed(window: BandWindow, rng: np.random.Generator, *patches: Patch) -> BandWindow:
    """Give a near infrared up, at times, that was a guess."""
    if not any(patch.nir_guessed for patch in patches):
        return window
    return _without_nir(window) if rng.random() < GUESS_DROPPED else window


def _without_nir(window: BandWindow) -> BandWindow:
    return window.picked([at for at, role in enumerate(window.roles) if role != "nir"])


def _made_up_bands(rng: np.random.Generator, *, most: int) -> tuple[Wavelength, ...]:
    """Draw bands that no sensor has: narrow ones of a spectrometer, or broad ones, and now and then heat."""
    widths_nm = (5.0, 20.0) if rng.random() < 0.5 else (20.0, 120.0)
    bands: list[Wavelength] = []
    while len(bands) < int(rng.integers(3, most + 1)):
        heat = rng.random() < 0.07
        centre = float(rng.uniform(*(_HEAT_NM if heat else _SOLAR_NM)))
        half = float(rng.uniform(*widths_nm)) * (8.0 if heat else 1.0) / 2.0
        if not any(low < centre + half and centre - half < high for low, high in _VAPOUR_NM):
            bands.append((centre - half, centre, centre + half))
    return tuple(bands)
