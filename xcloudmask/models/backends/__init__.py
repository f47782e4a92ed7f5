"""Programs that run a network: torch, OpenVINO, onnxruntime. All are called alike; see `protocol`."""
