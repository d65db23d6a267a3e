"""`make bench`: what settlement and ingest do in a second, beside references that run in the same minute."""
