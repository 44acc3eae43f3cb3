-- The broker's records. Every row that matters is written in the same transaction as the log
-- entry that tells of it; `entry` columns point there (index in the log).
-- Documents are kept as they came: DSSE envelopes, whose digests name them.

-- Other holders, by the card that an administrator enrolled.
CREATE TABLE party (
    party    TEXT PRIMARY KEY,
    card     BLOB NOT NULL,
    entry    INTEGER NOT NULL
) STRICT;

-- People: our own staff with roles, and the researchers and recipients of other parties.
CREATE TABLE person (
    party    TEXT NOT NULL,
    person   TEXT NOT NULL,
    card     BLOB NOT NULL,
    roles    TEXT NOT NULL,
    entry    INTEGER NOT NULL,
    PRIMARY KEY (party, person)
) STRICT;

-- A signed document with a nonce takes effect once.
CREATE TABLE used_nonce (
    nonce    BLOB PRIMARY KEY,
    used_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE dataset_version (
    dataset  TEXT NOT NULL,
    version  INTEGER NOT NULL,
    digest   BLOB NOT NULL,
    entry    INTEGER NOT NULL,
    manifest BLOB NOT NULL,
    PRIMARY KEY (dataset, version)
) STRICT;

CREATE INDEX dataset_version_entry ON dataset_version (entry);

CREATE TABLE agreement (
    digest   BLOB PRIMARY KEY,
    study    TEXT NOT NULL,
    name     TEXT NOT NULL,
    max_runs INTEGER NOT NULL,
    runs     INTEGER NOT NULL DEFAULT 0,
    entry    INTEGER NOT NULL,
    envelope BLOB NOT NULL,
    CHECK (runs <= max_runs)
) STRICT;

CREATE TABLE approval (
    agreement BLOB NOT NULL REFERENCES agreement (digest),
    person    TEXT NOT NULL,
    entry     INTEGER NOT NULL,
    rejected  INTEGER NOT NULL DEFAULT 0,
    envelope  BLOB NOT NULL,
    PRIMARY KEY (agreement, person)
) STRICT;

-- A study that is stopped stays stopped.
CREATE TABLE study_stop (
    study    TEXT PRIMARY KEY,
    envelope BLOB NOT NULL,
    entry    INTEGER NOT NULL
) STRICT;

-- One grant per run and guard: a retry with the same guard key gets the same, another key none.
CREATE TABLE grant_record (
    run          BLOB PRIMARY KEY,
    agreement    BLOB NOT NULL REFERENCES agreement (digest),
    request      BLOB NOT NULL,
    signing_key  BLOB NOT NULL,
    box_key      BLOB NOT NULL,
    evidence     BLOB NOT NULL,
    context      BLOB NOT NULL,
    entry        INTEGER NOT NULL,
    envelope     BLOB,
    revoked      INTEGER NOT NULL DEFAULT 0
) STRICT;

-- What a run came to, and this broker's share of the result key, still sealed.
CREATE TABLE receipt (
    run      BLOB PRIMARY KEY REFERENCES grant_record (run),
    digest   BLOB NOT NULL,
    envelope BLOB NOT NULL,
    share    BLOB,
    reviews  BLOB NOT NULL,
    entry    INTEGER NOT NULL,
    -- Why it is never cleared, once that is decided and logged.
    refused  TEXT
) STRICT;

CREATE TABLE review (
    run      BLOB NOT NULL REFERENCES receipt (run),
    person   TEXT NOT NULL,
    rejected INTEGER NOT NULL,
    envelope BLOB NOT NULL,
    entry    INTEGER NOT NULL,
    PRIMARY KEY (run, person)
) STRICT;

-- Consent to an output. The release is made after the entry is cosigned; a restart finishes it.
-- Until `sending` is set, right before the release is handed to the hub, a rejection or a stop counts;
-- it is set back when it is certain that the hub was not reached.
CREATE TABLE clearance (
    run      BLOB PRIMARY KEY REFERENCES receipt (run),
    context  BLOB NOT NULL,
    entry    INTEGER NOT NULL,
    release  BLOB,
    sending  INTEGER NOT NULL DEFAULT 0,
    sent     INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Full reasons, evidence, attestation results: named by digest in log entries, shown to owner
-- and auditor, never in the log itself.
CREATE TABLE blob (
    digest   BLOB PRIMARY KEY,
    kind     TEXT NOT NULL,
    bytes    BLOB NOT NULL
) STRICT;

-- What must never change: party, profile, format.
CREATE TABLE fixed (
    name     TEXT PRIMARY KEY,
    value    TEXT NOT NULL
) STRICT;
