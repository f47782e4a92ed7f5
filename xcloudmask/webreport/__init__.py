"""A series of masks as one HTML page: `write_report`."""

from xcloudmask.webreport._write import write_report

__all__ = ["write_report"]
