"""Whether the date of a number's document was given or derived: a column of the tables of numbers, with their view.

It is the last column, and 0 where nobody writes it: builds of before go on inserting their rows. None of them serves a
ledger in which an event may say that a date is derived. Every statement may run again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

SLOTS = ("a", "b")
COLUMN = "date_is_derived"


def upgrade() -> None:
    connection = op.get_bind()
    for slot in SLOTS:
        table = f"numbers_{slot}"
        if COLUMN not in {column["name"] for column in sa.inspect(connection).get_columns(table)}:
            op.add_column(table, sa.Column(COLUMN, sa.SmallInteger, nullable=False, server_default="0"))
    if op.get_context().dialect.name == "mariadb":  # there a view keeps the columns that it was made with
        parts = (
            f"SELECT * FROM numbers_{slot} WHERE EXISTS (SELECT 1 FROM projections WHERE slot = '{slot}' AND live = 1)"
            for slot in SLOTS
        )
        op.execute(f"CREATE OR REPLACE SQL SECURITY INVOKER VIEW numbers AS {' UNION ALL '.join(parts)}")
