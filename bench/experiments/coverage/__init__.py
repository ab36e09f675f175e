"""Do 95 % intervals hold the truth 95 % of the time? A simulation on made-up machines."""
