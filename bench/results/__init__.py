"""Results of a run: schema, journal, build, derive, store. The only source of what a report shows."""
