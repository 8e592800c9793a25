"""The log in a directory: segments of events, only ever appended to, and a manifest that says what they hold."""
