"""Results of a run: schema, events, journal, build, derive, store. A report shows values from here only."""
