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

-- Entries and bodies are ordinary tables: a row of a table without rowids spills into a page of its
-- own from a kilobyte on, one of these from four.
CREATE TABLE entries (
  stream TEXT    NOT NULL,
  seq    INTEGER NOT NULL,
  header TEXT    NOT NULL,
  hash   BLOB    NOT NULL,
  at     ANY GENERATED ALWAYS AS (json_extract(header, '$.at'))   VIRTUAL,
  kind   ANY GENERATED ALWAYS AS (json_extract(header, '$.kind')) VIRTUAL,
  call   ANY GENERATED ALWAYS AS (json_extract(header, '$.call')) VIRTUAL,
  PRIMARY KEY (stream, seq)
) STRICT;
CREATE INDEX entries_by_time ON entries (at, stream, seq);
CREATE INDEX entries_by_call ON entries (call);

CREATE TABLE bodies (
  stream TEXT    NOT NULL,
  seq    INTEGER NOT NULL,
  field  TEXT    NOT NULL,
  salt   BLOB    NOT NULL,
  body   BLOB    NOT NULL,
  PRIMARY KEY (stream, seq, field)
) STRICT;

CREATE TABLE counters (
  window  TEXT    NOT NULL,
  key     TEXT    NOT NULL,
  started INTEGER NOT NULL,
  last    INTEGER NOT NULL,
  count   INTEGER NOT NULL,
  PRIMARY KEY (window, key)
) STRICT, WITHOUT ROWID;

-- Against accidents and honest tools. Whoever can drop a trigger is found out by the chain.
CREATE TRIGGER entries_keep BEFORE UPDATE ON entries
BEGIN SELECT RAISE(ABORT, 'entries are never changed'); END;
CREATE TRIGGER entries_stay BEFORE DELETE ON entries
BEGIN SELECT RAISE(ABORT, 'entries are never deleted'); END;
-- INSERT OR REPLACE deletes without asking the trigger above.
CREATE TRIGGER entries_once BEFORE INSERT ON entries
WHEN EXISTS (SELECT 1 FROM entries WHERE stream = NEW.stream AND seq = NEW.seq)
BEGIN SELECT RAISE(ABORT, 'entries are never replaced'); END;

CREATE TRIGGER bodies_keep BEFORE UPDATE ON bodies
BEGIN SELECT RAISE(ABORT, 'bodies are never changed'); END;
CREATE TRIGGER bodies_stay BEFORE DELETE ON bodies
BEGIN SELECT RAISE(ABORT, 'bodies are never deleted'); END;
CREATE TRIGGER bodies_once BEFORE INSERT ON bodies
WHEN EXISTS (SELECT 1 FROM bodies WHERE stream = NEW.stream AND seq = NEW.seq AND field = NEW.field)
BEGIN SELECT RAISE(ABORT, 'bodies are never replaced'); END;

CREATE TRIGGER streams_stay BEFORE DELETE ON streams
BEGIN SELECT RAISE(ABORT, 'streams are never deleted'); END;
CREATE TRIGGER streams_once BEFORE INSERT ON streams
WHEN EXISTS (SELECT 1 FROM streams WHERE stream = NEW.stream OR epoch = NEW.epoch)
BEGIN SELECT RAISE(ABORT, 'streams are never replaced'); END;
CREATE TRIGGER streams_ahead BEFORE UPDATE ON streams
WHEN NEW.stream <> OLD.stream OR NEW.epoch <> OLD.epoch OR NEW.head_seq < OLD.head_seq
  OR (NEW.head_seq = OLD.head_seq AND NEW.head_hash <> OLD.head_hash)
BEGIN SELECT RAISE(ABORT, 'a stream only goes forward'); END;
