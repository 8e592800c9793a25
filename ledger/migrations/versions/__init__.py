"""The steps; `ledger.stores.migration` applies them."""
