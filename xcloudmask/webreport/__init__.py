"""A series of masks as one HTML page: `write_report`."""

from xcloudmask.webreport._write import REPORT_SUFFIXES, write_report

__all__ = ["REPORT_SUFFIXES", "write_report"]
