"""Warnings, each with a remedy."""
