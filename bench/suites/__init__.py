"""Workloads and suites: what is measured."""
