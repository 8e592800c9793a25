"""Reading the log back: checks, past states, archives and restores."""
