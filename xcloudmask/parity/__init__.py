"""OmniCloudMask's own way through a scene, for ``normalize="ocm"`` (numpy only)."""
