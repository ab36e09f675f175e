"""The coverage of 95 % intervals: the share that contains the true ratio, on simulated machines."""
