"""Models: specs, registry, architectures, and one load per process and device."""
