"""Measurement: cases, arms, calibration, sessions, the gate, training curves. Produces samples and reports nothing."""
