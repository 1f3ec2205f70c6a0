"""What touches Prefect's flow runs: how a run of ours begins, goes on and ends with one."""
