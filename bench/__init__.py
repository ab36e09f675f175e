"""The harness: checks and times the backends of pyfnn and reports the results. Imports pyfnn; never the reverse."""
