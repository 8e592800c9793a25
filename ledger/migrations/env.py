"""Run by Alembic, on the connection that `ledger.stores.migration` hands over; there is no offline mode."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
