"""The harness: it proves and times pyfnn's backends, and reports the results. Imports pyfnn; never the reverse."""
