"""`python -m xcloudmask` is the command line."""

from xcloudmask.cli import main

if __name__ == "__main__":
    main()
