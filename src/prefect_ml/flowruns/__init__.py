"""What touches Prefect's flow runs: how a run of ours begins, goes on and ends with one."""

from prefect_ml.flowruns.origin import flow_run_here
from prefect_ml.store.origin import also_tell

also_tell(flow_run_here)
