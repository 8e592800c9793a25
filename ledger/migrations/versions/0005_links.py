"""Where numbers got another document than they were confirmed for: a table in each slot of the projections.

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
