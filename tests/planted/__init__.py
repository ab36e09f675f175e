"""Planted bugs: a second correct implementation in plain NumPy, and ways to break it.

Without a bug, the implementation must pass every battery; with any one bug, it must fail. It shares no code with the
oracle.
"""
