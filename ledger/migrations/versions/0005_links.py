"""Where numbers got another document: a table in each slot of the projections, with its view.

Builds of before neither write nor read it, and none of them serves a ledger in which such an event may be.
Every statement may run again: MariaDB commits each by itself.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

MARIADB = {
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_nopad_bin",
}
SLOTS = ("a", "b")

# As in 0002: it shows the live slot, and reads with the rights of the one who asks.
VIEW = {"mariadb": "CREATE OR REPLACE SQL SECURITY INVOKER VIEW", "sqlite": "CREATE VIEW IF NOT EXISTS"}


def upgrade() -> None:
    for slot in SLOTS:
        op.create_table(
            f"links_{slot}",
            sa.Column("sequence_at", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("value", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
            if_not_exists=True,
            **MARIADB,
        )
        op.create_index(f"links_{slot}_by_position", f"links_{slot}", ["position"], if_not_exists=True)
    parts = (
        f"SELECT * FROM links_{slot} WHERE EXISTS (SELECT 1 FROM projections WHERE slot = '{slot}' AND live = 1)"
        for slot in SLOTS
    )
    op.execute(f"{VIEW[op.get_context().dialect.name]} links AS {' UNION ALL '.join(parts)}")
