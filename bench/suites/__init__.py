"""Workloads and suites: the work that a run measures."""
