"""Backends that a Python process hosts. backend.toml, beside this file, has one row for each."""
