"""Campaigns: masks of many scenes on a Dask cluster, resumable, each task once.

`plan` searches and counts, `start` runs what is not finished, `status` and `report` tell how far it is. `retry`,
`verify`, `compact`, `export` and `fork` do what their names say. The same from a shell: ``xcloudmask run``.
"""

# `plan`, `verify`, `export`, `fork` and `report` are modules, too: these are imported first, so that the functions
# have the names.
from xcloudmask.run.campaign import compact, plan, retry, start, status
from xcloudmask.run.config import CampaignConfig
from xcloudmask.run.coordinator import RunResult, run_tasks
from xcloudmask.run.drain import draining
from xcloudmask.run.export import Export, export
from xcloudmask.run.fork import fork
from xcloudmask.run.plan import PlanSummary
from xcloudmask.run.report import report
from xcloudmask.run.tally import CampaignStatus
from xcloudmask.run.task import Cell, Job, Record, Region, Task
from xcloudmask.run.verify import Verification, verify

__all__ = [
    "CampaignConfig",
    "CampaignStatus",
    "Cell",
    "Export",
    "Job",
    "PlanSummary",
    "Record",
    "Region",
    "RunResult",
    "Task",
    "Verification",
    "compact",
    "draining",
    "export",
    "fork",
    "plan",
    "report",
    "retry",
    "run_tasks",
    "start",
    "status",
    "verify",
]
