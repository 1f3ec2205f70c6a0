"""What produced a model version, and what was produced from a data set, a commit, a flow run or another model."""
