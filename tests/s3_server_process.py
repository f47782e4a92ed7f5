"""The process of `s3_server`: an S3 server until its pipe is closed. Why a process: see `http_server`."""

from __future__ import annotations

import os
import sys

from moto.server import ThreadedMotoServer


def main() -> None:
    """Say host and port, and serve."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    sys.stdout.write("{}:{}\n".format(*server.get_host_and_port()))
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
