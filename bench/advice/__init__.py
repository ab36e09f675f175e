"""Warnings about the machine and about a finished run, each with a remedy."""
