"""Campaigns: masks of many scenes on a Dask cluster, resumable, each task once."""
