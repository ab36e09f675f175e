"""The cost of a call across a language border."""
