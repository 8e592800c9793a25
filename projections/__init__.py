"""Folds of the log into tables for reading, and the mirror."""
