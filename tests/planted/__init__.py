"""The planted bugs: a correct model written once more in plain NumPy, and ways to break it.

With no bug it must pass the battery everywhere; with any one it must fail. It shares no code with the oracle.
"""
