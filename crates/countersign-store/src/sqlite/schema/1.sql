CREATE TABLE meta (
  name  TEXT NOT NULL PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One per process that wrote. What the chain does not protect here (state, lease, settled) is for
-- recovery alone; readers show nothing of it.
CREATE TABLE streams (
  stream      TEXT    NOT NULL PRIMARY KEY,
  epoch       INTEGER NOT NULL UNIQUE,
  -- open: being written, or cut off. closed: ended in good order.
  -- settled: a later stream has closed its calls and names its head.
  state       TEXT    NOT NULL CHECK (state IN ('open', 'closed', 'settled')),
  lease_until INTEGER NOT NULL,
  -- No intent before this sequence waits for its outcome.
  settled     INTEGER NOT NULL,
  head_seq    INTEGER NOT NULL,
  head_hash   BLOB    NOT NULL,
  signature   BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- A record's place is its stream's epoch, times 2^40, and its sequence; that of a body its record's,
-- times 16, and a number from 0. So rows follow each other, and no other index is needed to find them.
-- Ordinary tables: a row of a table without rowids spills into a page of its own from a kilobyte on,
-- one of these from four.
CREATE TABLE entries (
  place  INTEGER NOT NULL PRIMARY KEY,
  -- As in the header, for the indexes.
  at     INTEGER NOT NULL,
  call   TEXT,
  header TEXT    NOT NULL,
  hash   BLOB    NOT NULL
) STRICT;
CREATE INDEX entries_by_time ON entries (at);
CREATE INDEX entries_by_call ON entries (call);

CREATE TABLE bodies (
  place INTEGER NOT NULL PRIMARY KEY,
  field TEXT    NOT NULL,
  salt  BLOB    NOT NULL,
  body  BLOB    NOT NULL
) STRICT;

CREATE TABLE counters (
  window  TEXT    NOT NULL,
  key     TEXT    NOT NULL,
  started INTEGER NOT NULL,
  last    INTEGER NOT NULL,
  count   INTEGER NOT NULL,
  PRIMARY KEY (window, key)
) STRICT, WITHOUT ROWID;

-- What the journal's records have made of drafts. The records are the evidence, this is what is worked
-- with: at most one live draft of a binding, whatever the program does.
CREATE TABLE drafts (
  id        TEXT    NOT NULL PRIMARY KEY,
  binding   BLOB    NOT NULL,
  state     TEXT    NOT NULL,
  proposed  INTEGER NOT NULL,
  expires   INTEGER NOT NULL,
  tenant    TEXT    NOT NULL,
  agent     TEXT    NOT NULL,
  -- What never changes, as JSON.
  fixed     TEXT    NOT NULL,
  decided   TEXT,
  committed TEXT,
  outcome   TEXT,
  delivered INTEGER NOT NULL,
  moved     INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX drafts_once ON drafts (binding)
  WHERE state IN ('waiting', 'approved', 'committing', 'unknown');
CREATE INDEX drafts_by_binding ON drafts (binding);
CREATE INDEX drafts_by_time ON drafts (proposed);
CREATE INDEX drafts_by_state ON drafts (state, expires);
CREATE INDEX drafts_by_state_and_time ON drafts (state, proposed, id);
CREATE INDEX drafts_by_agent ON drafts (agent, tenant, state);

CREATE TABLE suspensions (
  switch TEXT    NOT NULL,
  name   TEXT    NOT NULL,
  at     INTEGER NOT NULL,
  who    TEXT    NOT NULL,
  reason TEXT    NOT NULL,
  PRIMARY KEY (switch, name)
) STRICT, WITHOUT ROWID;

-- One of each person who is away.
CREATE TABLE delegations (
  id    TEXT    NOT NULL PRIMARY KEY,
  at    INTEGER NOT NULL,
  until INTEGER NOT NULL,
  -- Who, who stands in and for whose data, as JSON: the record's body of that name.
  terms TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE unknowns (
  call     TEXT    NOT NULL PRIMARY KEY,
  at       INTEGER NOT NULL,
  agent    TEXT    NOT NULL,
  tenant   TEXT    NOT NULL,
  tool     TEXT    NOT NULL,
  system   TEXT    NOT NULL,
  draft    TEXT,
  -- Who said what came of it, as JSON, and what.
  decided  TEXT,
  happened INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX unknowns_open ON unknowns (at) WHERE decided IS NULL;

-- Against accidents and honest tools. Whoever can drop a trigger is found out by the chain.
CREATE TRIGGER entries_keep BEFORE UPDATE ON entries
BEGIN SELECT RAISE(ABORT, 'entries are never changed'); END;
CREATE TRIGGER entries_stay BEFORE DELETE ON entries
BEGIN SELECT RAISE(ABORT, 'entries are never deleted'); END;
-- INSERT OR REPLACE deletes without asking the trigger above. It is refused by ROLLBACK: for an ABORT
-- SQLite has to be able to undo each single INSERT, and keeps a journal of it in memory.
CREATE TRIGGER entries_once BEFORE INSERT ON entries
WHEN EXISTS (SELECT 1 FROM entries WHERE place = NEW.place)
BEGIN SELECT RAISE(ROLLBACK, 'entries are never replaced'); END;

CREATE TRIGGER bodies_keep BEFORE UPDATE ON bodies
BEGIN SELECT RAISE(ABORT, 'bodies are never changed'); END;
CREATE TRIGGER bodies_stay BEFORE DELETE ON bodies
BEGIN SELECT RAISE(ABORT, 'bodies are never deleted'); END;
CREATE TRIGGER bodies_once BEFORE INSERT ON bodies
WHEN EXISTS (SELECT 1 FROM bodies WHERE place = NEW.place)
BEGIN SELECT RAISE(ROLLBACK, 'bodies are never replaced'); END;

CREATE TRIGGER streams_stay BEFORE DELETE ON streams
BEGIN SELECT RAISE(ABORT, 'streams are never deleted'); END;
CREATE TRIGGER streams_once BEFORE INSERT ON streams
WHEN EXISTS (SELECT 1 FROM streams WHERE stream = NEW.stream OR epoch = NEW.epoch)
BEGIN SELECT RAISE(ABORT, 'streams are never replaced'); END;
CREATE TRIGGER streams_ahead BEFORE UPDATE ON streams
WHEN NEW.stream <> OLD.stream OR NEW.epoch <> OLD.epoch OR NEW.head_seq < OLD.head_seq
  OR (NEW.head_seq = OLD.head_seq AND NEW.head_hash <> OLD.head_hash)
BEGIN SELECT RAISE(ABORT, 'a stream only goes forward'); END;
