"""Verifies a journal as docs/audit-format.md says, with nothing but Python. Signatures are left
out: the standard library has no Ed25519."""

import hashlib
import json
import sqlite3
import sys

KINDS = {"stream_opened", "stream_closed", "posture_loaded", "intent", "outcome", "refusal"}
problems = []


def find(stream, seq, what):
    problems.append(f"stream {stream}, entry {seq}: {what}")


def h(*parts):
    return hashlib.sha256(b"".join(len(p).to_bytes(8, "big") + p for p in parts)).digest()


def canonical(value):
    # RFC 8785 for what headers hold: ASCII names, texts, integers, true, false.
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def check_header(row, bodies, epoch):
    stream, seq, raw = row
    try:
        header = json.loads(raw)
        assert isinstance(header, dict)
    except (AssertionError, ValueError):
        find(stream, seq, "header is not a JSON object")
        return {}
    if canonical(header) != raw:
        find(stream, seq, "header is not canonical")
    if header.get("v") != 1 or header.get("kind") not in KINDS or type(header.get("at")) is not int:
        find(stream, seq, "format, kind or time")
    if (header.get("stream"), header.get("seq")) != (stream, seq):
        find(stream, seq, "header gives another place")
    if (header.get("kind") == "stream_opened") != (seq == 0):
        find(stream, seq, "a stream begins with stream_opened, once")
    if seq == 0 and header.get("epoch") != epoch:
        find(stream, seq, "another epoch")
    found = {}
    for field, salt, body in bodies:
        digest = h(b"countersign/field/1", field, salt, body).hex()
        name = field.decode(errors="replace")
        found[name] = digest if len(salt) == 16 and name not in found else None
    if found != header.get("fields"):
        find(stream, seq, "bodies are not those committed to")
    return header


def check_outcome(header, stream, seq, waiting, unknown):
    place = (header.get("intent", {}).get("stream"), header.get("intent", {}).get("seq"))
    recovered = header.get("recovered") is True
    call = waiting.pop(place, None) or (None if recovered else unknown.pop(place, None))
    if call is None or call != header.get("call"):
        find(stream, seq, "no such intent waits for an outcome")
    elif recovered:
        unknown[place] = call


def verify(path):
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    db.text_factory = bytes  # the bytes as they are stored, whatever they are
    if db.execute("PRAGMA user_version").fetchone() != (1,):
        sys.exit("not a journal of version 1")
    if db.execute("PRAGMA integrity_check").fetchone() != (b"ok",):
        problems.append("the database is damaged")
    waiting, unknown, named, ended, ends, entries = {}, {}, {}, set(), {}, 0
    streams = db.execute("SELECT stream, epoch, state, head_seq, head_hash FROM streams ORDER BY epoch").fetchall()
    for stream, epoch, state, head_seq, head_hash in streams:
        name, last, previous, kind = stream.decode(errors="replace"), -1, bytes(32), None
        rows = db.execute(
            "SELECT place, at, call, header, hash FROM entries WHERE place >= ? AND place < ? ORDER BY place",
            (epoch << 40, (epoch + 1) << 40),
        )
        for place, at, call, raw, stored in rows.fetchall():
            seq = place - (epoch << 40)
            entries += 1
            if seq != last + 1 or stored != h(b"countersign/entry/1", previous, raw):
                find(name, seq, "does not follow from the entry before")
            if kind == "stream_closed":
                find(name, seq, "follows the end of its stream")
            bodies = db.execute(
                "SELECT field, salt, body FROM bodies WHERE place >= ? AND place < ?", (place << 4, (place + 1) << 4)
            )
            header = check_header((name, seq, raw), bodies.fetchall(), epoch)
            if (at, call and call.decode()) != (header.get("at"), header.get("call")):
                find(name, seq, "its row has another time or call")
            last, previous, kind = seq, stored, header.get("kind")
            if kind == "intent":
                waiting[(name, seq)] = header.get("call")
            if kind == "outcome":
                check_outcome(header, name, seq, waiting, unknown)
            for head in header.get("earlier", []):
                named[head["stream"]] = (head["seq"], head["hash"])
        ends[name] = (last, previous.hex())
        if (head_seq, head_hash) != (last, previous):
            find(name, last, "the head is another entry")
        if state == b"closed" and kind != "stream_closed":
            find(name, last, "marked as closed without an end")
        if kind == "stream_closed":
            ended.add(name)
    for name, end in named.items():
        if ends.get(name) != end:
            find(name, end[0], "a later stream names another end")
    for name in list(ends)[:-1]:
        if name not in named:
            find(name, "-", "no later stream names its end")
    for (name, seq) in waiting:
        if name in ended or name in named:
            find(name, seq, "the call has no outcome")
    strays = "SELECT count(*) FROM entries WHERE place >> 40 NOT IN (SELECT epoch FROM streams)"
    lost = "SELECT count(*) FROM bodies WHERE place >> 4 NOT IN (SELECT place FROM entries)"
    if db.execute(strays).fetchone() != (0,) or db.execute(lost).fetchone() != (0,):
        problems.append("rows that belong to nothing")
    print(f"{len(streams)} streams, {entries} entries", *problems, sep="\n")


verify(sys.argv[1])
sys.exit(1 if problems else 0)
