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
  -- The places of its first record, and of its last or of one not far before it in the same stream.
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

-- For each place in turn 20 bytes, little-endian: profile, session, how many calls the record stands for,
-- 4 bytes each, and the time in 8. A profile of 0 is no record, a session of 0 none.
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

-- How many calls came to what, by minute, hour and day (in minutes). The profile is one of kind, status,
-- code and tenant alone; by day, there are those of whole profiles besides.
CREATE TABLE tallies (
  grain   INTEGER NOT NULL,
  whole   INTEGER NOT NULL CHECK (whole IN (0, 1)),
  at      INTEGER NOT NULL,
  profile INTEGER NOT NULL,
  count   INTEGER NOT NULL,
  PRIMARY KEY (grain, whole, at, profile)
) STRICT, WITHOUT ROWID;

-- Whoever decides on drafts: a digest of what a body of the journal says of them, which can be erased
-- there. Whoever erases it removes this file too.
CREATE TABLE people (
  id     INTEGER NOT NULL PRIMARY KEY,
  digest BLOB    NOT NULL UNIQUE
) STRICT;

-- When a draft was proposed, when it ceased to wait, and by which record: its kind and place, who it was,
-- and whether they had been shown what would happen.
CREATE TABLE drafts (
  draft    TEXT    NOT NULL PRIMARY KEY,
  tenant   TEXT,
  proposed INTEGER NOT NULL,
  ended    INTEGER NOT NULL,
  how      TEXT,
  place    INTEGER,
  person   INTEGER,
  shown    INTEGER
) STRICT;
CREATE INDEX drafts_by_end ON drafts (ended, proposed, tenant, how, person, shown, place);
CREATE INDEX drafts_by_proposal ON drafts (proposed, tenant);

-- The records of a draft. The person is the one who was shown its preview.
CREATE TABLE of_drafts (
  draft  TEXT    NOT NULL,
  place  INTEGER NOT NULL,
  person INTEGER,
  PRIMARY KEY (draft, place)
) STRICT, WITHOUT ROWID;
