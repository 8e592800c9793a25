"""Run by Alembic, on the connection that `ledger.stores.migration` hands over; there is no offline mode."""

from alembic import context

from ledger.stores.schema import schema_version

context.configure(connection=context.config.attributes["connection"], version_table=schema_version.name)
context.run_migrations()
