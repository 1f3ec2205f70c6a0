"""Moving experiments, runs and models in and out, whole; and removing for good what was deleted long ago."""
