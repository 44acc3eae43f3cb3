-- The log's entries: the source of truth from which tiles and heads are made. A row is written in
-- the transaction of the record that it tells of, and never changed.
CREATE TABLE log_entry (
    idx      INTEGER PRIMARY KEY,
    bytes    BLOB NOT NULL
) STRICT;

-- As a witness of other holders' logs: the head that was cosigned last, per origin. It is durable
-- before the cosignature is shown to anybody.
CREATE TABLE witnessed (
    origin     TEXT PRIMARY KEY,
    checkpoint TEXT NOT NULL
) STRICT;

-- Heads that another log signed and that do not fit each other: kept as proof.
CREATE TABLE witness_evidence (
    digest   BLOB PRIMARY KEY,
    origin   TEXT NOT NULL,
    stored   TEXT,
    offered  TEXT NOT NULL,
    seen_at  INTEGER NOT NULL
) STRICT;
