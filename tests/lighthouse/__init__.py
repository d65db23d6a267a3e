"""Lighthouse over the console, as production serves it (`make lighthouse`)."""
