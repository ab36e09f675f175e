"""The engine of experiments that consist of many cells: all cores or a cluster, resumable. Knows no experiment."""
