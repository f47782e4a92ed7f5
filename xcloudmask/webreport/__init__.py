"""A series of masks as one HTML page: `write_report`."""

from xcloudmask.webreport._stores import open_store
from xcloudmask.webreport._write import write_report

__all__ = ["open_store", "write_report"]
