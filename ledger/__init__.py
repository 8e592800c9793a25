"""The ledger: rules of numbering, the log, its stores and its writer."""
