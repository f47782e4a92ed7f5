"""Networks that were made elsewhere: TorchScript, ``torch.export``, ONNX and importable factories.

Each module here reads one format and returns a callable; `xcloudmask.models.foreign.network.ForeignNet` makes a network
of it that answers as the package's own do.
"""
