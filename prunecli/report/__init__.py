"""The report: what a run, an inspection and a verification found, as values and in print."""
