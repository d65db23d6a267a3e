"""`make load`: customers, the platform and staff at once, with and without a night at work."""
