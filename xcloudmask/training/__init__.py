"""Training of the package's networks: data with partial labels, augmentation, loss, the fit and its score."""

from __future__ import annotations
