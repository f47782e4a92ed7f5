"""Near infrared guessed from red, green and blue, so that pictures without it can train with three bands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from xcloudmask.simulate.clouds import add_clouds
from xcloudmask.simulate.noise import fractal_noise

__all__ = ["NirGuess", "clouded_copies", "fit_nir_guess"]

_WAVELENGTHS_NM = (665.0, 560.0, 490.0, 842.0)

_FLOOR = 0.003
_REACH_PX = 9
_PIXELS = 8192


class NirGuess(nn.Module):
    """Map from the reflectance of a pixel and its surroundings to its near infrared.

    Examples
    --------
    >>> guess = NirGuess()
    >>> guess.guess(np.full((3, 16, 16), 0.1, np.float32)).shape
    (16, 16)
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(7, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Return the logarithm of near infrared over red for features (..., 7)."""
        ratio: Tensor = self.layers(features)[..., 0]
        return ratio

    def guess(self, rgb: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the near infrared (y, x) of an image (red, green, blue; y; x) of reflectance."""
        with torch.inference_mode():
            features = _features(torch.from_numpy(np.ascontiguousarray(rgb)))
            ratio = self(features).clamp(-4.0, 4.0)
            nir = features[..., 0].exp() * ratio.exp()
        return np.asarray(nir.clamp(0.0, 1.2).numpy(), np.float32)


def _features(rgb: Tensor) -> Tensor:
    """Logarithms of red, green, blue at (y, x), their means around it, and how much red varies there."""
    logs = rgb.clamp(min=_FLOOR).log()
    pad = [_REACH_PX // 2] * 4
    around = F.avg_pool2d(F.pad(logs[None], pad, mode="replicate"), _REACH_PX, stride=1)[0]
    varies = F.avg_pool2d(F.pad((logs[:1] - around[:1]).abs()[None], pad, mode="replicate"), _REACH_PX, stride=1)[0]
    return torch.cat([logs, around - logs, varies]).movedim(0, -1)


def fit_nir_guess(
    images: Sequence[npt.NDArray[np.float32]], *, seed: int = 0, steps: int = 1500
) -> tuple[NirGuess, float]:
    """Learn the guess from images that have a near infrared.

    Parameters
    ----------
    images
        Each (red, green, blue, nir; y; x) reflectance.
    seed
        Of weights and samples.
    steps
        Steps of Adam, each with 8192 pixels.

    Returns
    -------
    guess, error
        The map, and its mean absolute error of reflectance on the last tenth of the pixels.

    Notes
    -----
    The guess is for training alone: it teaches which texture goes with which label, and half of its samples are shown
    without it. Gains shared by the four bands are varied, since pictures are scaled by hand.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> image = rng.uniform(0.05, 0.3, (4, 64, 64)).astype(np.float32)
    >>> guess, error = fit_nir_guess([image], steps=5)
    >>> error < 1.0
    True
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = NirGuess()
    features, target = _pixels(images, np.random.default_rng(seed))
    last = len(features) - len(features) // 10
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    draw = torch.Generator().manual_seed(seed)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1.0 - step / steps)
        index = torch.randint(last, (_PIXELS,), generator=draw)
        loss = F.smooth_l1_loss(net(features[index]), target[index], beta=0.2)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.inference_mode():
        red = features[last:, 0].exp()
        error = ((net(features[last:]).exp() - target[last:].exp()) * red).abs().mean()
    return net.eval(), float(error)


def _pixels(images: Sequence[npt.NDArray[np.float32]], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Features and targets of every fourth pixel in random order, each image once as it is and once averaged by 4."""
    features, targets = [], []
    for image in images:
        whole = torch.from_numpy(np.ascontiguousarray(image)) * float(np.exp(rng.normal(0.0, 0.25)))
        for scaled in (whole, F.avg_pool2d(whole[None], 4)[0]):
            inputs = _features(scaled[:3])
            ratio = scaled[3].clamp(min=_FLOOR).log() - inputs[..., 0]
            features.append(inputs[::2, ::2].reshape(-1, inputs.shape[-1]))
            targets.append(ratio[::2, ::2].reshape(-1))
    order = torch.from_numpy(rng.permutation(sum(len(part) for part in targets)))
    return torch.cat(features)[order], torch.cat(targets)[order]


def clouded_copies(images: Sequence[npt.NDArray[np.float32]], *, seed: int = 0) -> list[npt.NDArray[np.float32]]:
    """Put simulated clouds over clear images, and over open water, which clear images of land lack.

    Parameters
    ----------
    images
        Clear images (red, green, blue, nir; y; x) of reflectance.
    seed
        Of the clouds and the water.

    Returns
    -------
    list of numpy.ndarray
        Two for each image, of the same shape.

    Examples
    --------
    >>> len(clouded_copies([np.full((4, 32, 32), 0.1, np.float32)]))
    2
    """
    rng = np.random.default_rng((seed, 1))
    copies = []
    for image in images:
        for clear in (image, _water(image.shape, rng)):
            scene = add_clouds(clear, wavelengths_nm=_WAVELENGTHS_NM, resolution_m=20.0, rng=rng)
            copies.append(scene.image)
    return copies


def _water(shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Deep to turbid water under some haze; see `xcloudmask.training.augment.water` for the sources."""
    red = rng.uniform(0.01, 0.09)
    green = red * rng.uniform(1.0, 1.7) + 0.01
    spectrum = np.array([red, green, green * rng.uniform(0.8, 1.6), red * rng.uniform(0.1, 0.5)])[:, None, None]
    field = fractal_noise((shape[1], shape[2]), rng=rng, slope=3.5, outer_px=200.0)
    return np.asarray(spectrum * np.exp(rng.uniform(0.0, 0.3) * field), np.float32)
