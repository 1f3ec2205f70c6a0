"""Sweeps without Prefect: search spaces, the choice of trials, and what the store remembers of a sweep."""
