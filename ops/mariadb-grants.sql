-- What the service's account may do on MariaDB, and nothing more: what it cannot do, a stolen password cannot either.
-- Run it as an administrator after every `numbering migrate` (tables must exist to be named here; running it again is
-- harmless). `numbering migrate` itself uses another account, one that may create tables and triggers.
--
-- A template: {database} is the ledger's schema, {account} the quoted account, which must exist. For example
--   sed -e "s/{database}/numbering/g" -e "s/{account}/'numbering'@'10.0.%'/g" mariadb-grants.sql | mariadb

-- The log is appended to and read. No UPDATE and no DELETE: history cannot be edited, with or without its triggers.
GRANT SELECT, INSERT ON `{database}`.`events` TO {account};

-- The head is one row that the migration made. It moves, and locking it (FOR UPDATE) needs UPDATE as well;
-- nobody adds a second head or removes the first.
GRANT SELECT, UPDATE ON `{database}`.`ledger_head` TO {account};

-- Why writing is stopped: a reason is added, and taken away when it holds no more. None is changed.
GRANT SELECT, INSERT, DELETE ON `{database}`.`stops` TO {account};

-- A snapshot is written once and read at start. An older one is never changed, so none can be forged in place. An
-- administrator may delete any of them at any time: the log is then folded from an older one, or from its beginning.
GRANT SELECT, INSERT ON `{database}`.`snapshots` TO {account};

-- The service compares the schema's version with its own at start, and never changes it.
GRANT SELECT ON `{database}`.`alembic_version` TO {account};
GRANT SELECT ON `{database}`.`schema_version` TO {account};

-- Each process that serves the ledger keeps a row of its own, and takes away those of processes that died.
GRANT SELECT, INSERT, UPDATE, DELETE ON `{database}`.`processes` TO {account};

-- The projections are folded from the log and can be folded again, so nothing is lost with them: their rows are written,
-- changed and deleted, in two slots of which one is live. Which one that is, is in rows that the migration made.
GRANT SELECT, UPDATE ON `{database}`.`projections` TO {account};
GRANT SELECT, INSERT, UPDATE, DELETE ON `{database}`.`series_a` TO {account};
GRANT SELECT, INSERT, UPDATE, DELETE ON `{database}`.`sequences_a` TO {account};
GRANT SELECT, INSERT, UPDATE, DELETE ON `{database}`.`reservations_a` TO {account};
GRANT SELECT, INSERT, UPDATE, DELETE ON `{database}`.`numbers_a` TO {account};
GRANT SELECT, INSERT, UPDATE, DELETE ON `{database}`.`gaps_a` TO {account};
GRANT SELECT, INSERT, UPDATE, DELETE ON `{database}`.`links_a` TO {account};
GRANT SELECT, INSERT, UPDATE, DELETE ON `{database}`.`series_b` TO {account};
GRANT SELECT, INSERT, UPDATE, DELETE ON `{database}`.`sequences_b` TO {account};
GRANT SELECT, INSERT, UPDATE, DELETE ON `{database}`.`reservations_b` TO {account};
GRANT SELECT, INSERT, UPDATE, DELETE ON `{database}`.`numbers_b` TO {account};
GRANT SELECT, INSERT, UPDATE, DELETE ON `{database}`.`gaps_b` TO {account};
GRANT SELECT, INSERT, UPDATE, DELETE ON `{database}`.`links_b` TO {account};
