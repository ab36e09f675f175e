"""The machine: its description, CPUs, backends, ceilings and sensors. Judges no result."""
