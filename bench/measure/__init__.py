"""Measures: cases, arms, calibration, sessions, the gate, curves. Produces samples."""
