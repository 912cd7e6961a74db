"""Verifies a journal as docs/audit-format.md says, with nothing but Python. Signatures are left
out: the standard library has no Ed25519."""

import hashlib
import json
import sqlite3
import sys

KINDS = {"stream_opened", "stream_closed", "posture_loaded", "intent", "outcome", "refusal"}
KINDS |= {"draft_" + word for word in "proposed approved rejected withdrawn expired void delivered previewed".split()}
KINDS |= {"suspended", "resumed", "delegated", "delegation_ended", "unknown_resolved", "act_refused", "alert"}
EFFECTS = {"read": 1, "reversible": 2, "persistent": 3, "irreversible": 4}
LIVE = {"waiting", "approved", "committing", "unknown"}
STEPS = {  # what a record, or what an outcome says, makes of a draft, and from where
    "draft_approved": ("approved", {"waiting"}),
    "draft_rejected": ("rejected", {"waiting"}),
    "draft_withdrawn": ("withdrawn", {"waiting", "approved"}),
    "draft_expired": ("expired", {"waiting", "approved"}),
    "draft_void": ("void", {"waiting", "approved"}),
    "intent": ("committing", {"approved"}),
    "applied": ("executed", {"committing", "unknown"}),
    "not_applied": ("failed", {"committing", "unknown"}),
    "compensated": ("failed", {"committing", "unknown"}),
    "unknown": ("unknown", {"committing"}),
}
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


def check_alert(header, stream, seq, ends, alerts):
    cause = header.get("cause", {})
    alert = (header.get("alert"), cause.get("stream"), cause.get("seq"))
    last = seq - 1 if cause.get("stream") == stream else ends.get(cause.get("stream"), (-1,))[0]
    if type(cause.get("seq")) is not int or cause["seq"] > last:
        find(stream, seq, "its cause is no entry before it")
    if alert in alerts:
        find(stream, seq, "another alert has the same cause")
    alerts.add(alert)


class Told:
    """What the records make of drafts, switches, delegations and unknown outcomes."""

    def __init__(self):
        self.drafts, self.carried_out, self.suspended, self.unknown = {}, {}, set(), {}
        self.delegations = {}

    def take(self, header, arguments, terms):
        kind, name = header.get("kind"), header.get("draft")
        switch = (header.get("switch"), header.get("name"))
        if kind == "draft_proposed":
            assert name not in self.drafts, "proposed twice"
            self.drafts[name] = {**header, "state": "waiting", "told": False, "arguments": arguments}
        elif kind == "suspended":
            self.suspended.add(switch)
        elif kind == "resumed":
            assert switch in self.suspended, "was not off"
            self.suspended.remove(switch)
        elif kind == "delegated":
            self.delegate(header, terms)
        elif kind == "delegation_ended":
            del self.delegations[header.get("delegation")]
        elif kind == "intent":
            self.intent(header, arguments)
        elif kind == "outcome":
            self.outcome(header)
        elif kind == "unknown_resolved":
            assert self.unknown.pop(header.get("call"), False) == name, "no unknown outcome of that draft"
            assert type(header.get("happened")) is bool, "does not say what happened"
            if name is not None:
                self.step(header, "applied" if header["happened"] else "not_applied")
        elif kind == "draft_delivered":
            draft = self.drafts[name]
            assert draft["state"] in ("executed", "failed") and not draft["told"], "told twice or too early"
            draft["told"] = True
        elif kind == "draft_previewed":
            self.drafts[name]
        elif kind in STEPS:
            self.step(header, kind, "agent", "tenant", "tool")
            assert kind != "draft_approved" or header["at"] < self.drafts[name]["expires"], "too late"
            if "delegation" in header:
                assert header["at"] < self.delegations[header["delegation"]][1], "in the stead of nobody"

    def delegate(self, header, terms):
        name, at, until = header["delegation"], header["at"], header["until"]
        replaced = self.delegations.pop(header["replaces"], None) if "replaces" in header else True
        self.delegations = {n: old for n, old in self.delegations.items() if old[1] > at}
        twice = name in self.delegations
        self.delegations[name] = (at, until, terms)
        assert replaced and not twice and until > at, "replaces none, made before, or ends before it begins"

    def step(self, header, step, *alike):
        draft, (to, origins) = self.drafts[header["draft"]], STEPS[step]
        draft["state"], was = to, draft["state"]
        assert was in origins, f"{step} of a draft that was {was}"
        assert all(header.get(member) == draft.get(member) for member in alike), "not of what was proposed"
        return draft

    def intent(self, header, arguments):
        rung, least = header.get("rung"), EFFECTS.get(header.get("effect"), 4)
        rung = rung if type(rung) is int and 1 <= rung <= 4 else 4
        assert rung >= least or "exception" in header, "below its effect's step"
        if "draft" not in header:
            said = header.get("consulted", {}).get("said")
            stood_in = (rung, header.get("decided_by"), said) == (3, "decision_point", "yes")
            assert rung < 3 or stood_in, "nobody agreed"
            return
        self.carried_out[header.get("call")] = header["draft"]
        draft = self.step(header, "intent", "agent", "tenant", "tool", "decision")
        assert header["at"] < draft["expires"] and rung <= draft["rung"], "too late, or too high"
        assert arguments == draft["arguments"], "other arguments"

    def outcome(self, header):
        call, draft, applied = header.get("call"), header.get("draft"), header.get("applied")
        self.unknown.pop(call, None)
        if applied == "unknown" and header.get("effect") != "read":
            self.unknown[call] = draft
        assert draft == self.carried_out.get(call), "not the draft of its intent"
        assert applied in STEPS, "does not say what became of it"
        if draft is not None:
            self.step(header, applied)

    def tables(self, db):
        def rows(sql):
            return {tuple(cell and cell.decode() for cell in row) for row in db.execute(sql)}

        drafts, told = dict(rows("SELECT id, state FROM drafts")), {n: d["state"] for n, d in self.drafts.items()}
        odd = [name for name in drafts if drafts[name] != told.get(name)]
        odd += [name for name in told if told[name] in LIVE and name not in drafts]
        odd += rows("SELECT switch, name FROM suspensions") ^ self.suspended
        kept = {n.decode(): row for n, *row in db.execute("SELECT id, at, until, terms FROM delegations")}
        kept, made = ({n: tuple(row) for n, row in all.items()} for all in (kept, self.delegations))
        odd += [name for name in {**kept, **made} if kept.get(name) != made.get(name)]
        odd += rows("SELECT call, draft FROM unknowns WHERE decided IS NULL") ^ set(self.unknown.items())
        problems.extend(f"{name}: the tables and the records differ" for name in odd)


def verify(path):
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    db.text_factory = bytes  # the bytes as they are stored, whatever they are
    if db.execute("PRAGMA user_version").fetchone() != (1,):
        sys.exit("not a journal of version 1")
    if db.execute("PRAGMA integrity_check").fetchone() != (b"ok",):
        problems.append("the database is damaged")
    waiting, unknown, named, ended, ends, entries, told = {}, {}, {}, set(), {}, 0, Told()
    alerts = set()
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
            bodies = bodies.fetchall()
            header = check_header((name, seq, raw), bodies, epoch)
            if (at, call and call.decode()) != (header.get("at"), header.get("call")):
                find(name, seq, "its row has another time or call")
            try:
                said = {field: body for field, _, body in bodies}
                told.take(header, said.get(b"arguments"), said.get(b"terms"))
            except (AssertionError, KeyError, TypeError) as problem:
                find(name, seq, problem)
            last, previous, kind = seq, stored, header.get("kind")
            if kind == "intent":
                waiting[(name, seq)] = header.get("call")
            if kind == "outcome":
                check_outcome(header, name, seq, waiting, unknown)
            if kind == "alert":
                check_alert(header, name, seq, ends, alerts)
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
    told.tables(db)
    print(f"{len(streams)} streams, {entries} entries", *problems, sep="\n")


verify(sys.argv[1])
sys.exit(1 if problems else 0)
