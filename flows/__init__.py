"""The flows that ship with the package: promote a version, deploy a model, the quickstart's training."""
