-- Made from the journal alone, and made anew whenever this file is missing, damaged, of another version
-- or of another journal. Nothing is shown from here: it says where in the journal to look.
CREATE TABLE state (
  one     INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
  -- The journal's public key and first stream.
  journal TEXT    NOT NULL,
  -- The last record that is in here, and its hash.
  upto    INTEGER NOT NULL,
  hash    BLOB    NOT NULL
) STRICT;

-- What many records have in common, as JSON: [kind, status, code, agent, tenant, tool, alert].
CREATE TABLE profiles (
  id     INTEGER NOT NULL PRIMARY KEY,
  text   TEXT    NOT NULL UNIQUE,
  -- The places of its first and last record.
  first  INTEGER NOT NULL,
  last   INTEGER NOT NULL
) STRICT;

CREATE TABLE sessions (
  id     INTEGER NOT NULL PRIMARY KEY,
  digest BLOB    NOT NULL UNIQUE
) STRICT;

-- A block is 1,024 places. Its zone is what there is in it, so that a search can pass it by.
CREATE TABLE zones (
  block    INTEGER NOT NULL PRIMARY KEY,
  at_min   INTEGER NOT NULL,
  at_max   INTEGER NOT NULL,
  -- The numbers of its profiles, and of its sessions: 4 bytes each, little-endian, ascending.
  profiles BLOB    NOT NULL,
  sessions BLOB    NOT NULL
) STRICT;

-- For each place in turn 16 bytes, little-endian: profile and session, 4 bytes each, 0 for none, and the
-- time in 8.
CREATE TABLE blocks (
  block INTEGER NOT NULL PRIMARY KEY,
  rows  BLOB    NOT NULL
) STRICT;

-- Intents without an outcome.
CREATE TABLE under_way (
  place   INTEGER NOT NULL PRIMARY KEY,
  profile INTEGER NOT NULL,
  session INTEGER NOT NULL,
  at      INTEGER NOT NULL
) STRICT;

-- How many calls came to what, by minute, hour and day (in minutes).
CREATE TABLE tallies (
  grain   INTEGER NOT NULL,
  at      INTEGER NOT NULL,
  profile INTEGER NOT NULL,
  count   INTEGER NOT NULL,
  PRIMARY KEY (grain, at, profile)
) STRICT, WITHOUT ROWID;

-- When a draft was proposed, and when and how it ceased to wait: the kind and the place of that record.
CREATE TABLE drafts (
  draft    TEXT    NOT NULL PRIMARY KEY,
  tenant   TEXT,
  proposed INTEGER NOT NULL,
  ended    INTEGER NOT NULL,
  how      TEXT,
  place    INTEGER
) STRICT;
CREATE INDEX drafts_by_end ON drafts (ended, proposed, tenant, how);
CREATE INDEX drafts_by_proposal ON drafts (proposed, tenant);

CREATE TABLE of_drafts (
  draft     TEXT    NOT NULL,
  place     INTEGER NOT NULL,
  previewed INTEGER NOT NULL,
  PRIMARY KEY (draft, place)
) STRICT, WITHOUT ROWID;
