"""The harness: proves and times pyfnn's backends, and tells what came of it. Imports pyfnn; never the reverse."""
