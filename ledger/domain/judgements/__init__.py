"""What an auditor asks of each event, for `ledger.domain.legality`."""
