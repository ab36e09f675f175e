"""Helpers that several test modules share. No claims."""
