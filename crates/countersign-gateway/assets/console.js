// What a page can do more with JavaScript: times in the reader's zone, what is left counting down,
// keys, and fetching anew what has changed. Nothing here decides anything.
"use strict";
(() => {
  const zone = new Intl.DateTimeFormat(undefined, {
    year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit",
  });
  const soon = (s) => {
    const m = Math.floor(s / 60), h = Math.floor(m / 60);
    if (s < 60) return `in ${s} s`;
    if (m < 60) return `in ${m} min ${s % 60} s`;
    return h < 48 ? `in ${h} h ${m % 60} min` : `in ${Math.floor(h / 24)} days`;
  };
  const times = (root) => {
    for (const time of root.querySelectorAll("time:not([data-local])")) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      time.textContent = zone.format(at);
      time.setAttribute("data-local", "");
    }
  };
  const countDown = () => {
    for (const time of document.querySelectorAll("time[data-until]")) {
      const at = new Date(time.dateTime), s = Math.floor((at - Date.now()) / 1000);
      time.textContent = s > 0 ? soon(s) : zone.format(at);
      time.classList.toggle("urgent", s > 0 && s < 300);
    }
  };
  const say = (text) => { document.getElementById("status").textContent = text; };

  // ── what changes ──
  const live = () => {
    const at = document.body.dataset.live;
    if (!at || !window.EventSource) return;
    let source = null;
    const open = () => {
      if (source || document.hidden) return;
      source = new EventSource(at);
      for (const name of ["drafts", "calls"]) {
        source.addEventListener(name, () => document.body.dispatchEvent(new Event(name)));
      }
      // Signed out, or not signed in for too long: what the page shows is nobody's any more.
      source.addEventListener("over", () => { close(); window.location.reload(); });
      source.onerror = () => { if (source && source.readyState === EventSource.CLOSED) source = null; };
    };
    const close = () => { if (source) { source.close(); source = null; } };
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) { close(); return; }
      open();
      document.body.dispatchEvent(new Event("drafts"));
    });
    window.addEventListener("pagehide", close);
    open();
  };
  // What can be decided depends on the state: a draft that has got elsewhere is shown anew, whole.
  const state = () => document.getElementById("state")?.dataset.state;
  const begun = state();
  document.addEventListener("htmx:afterSwap", () => {
    if (state() !== begun) { window.location.reload(); return; }
    times(document);
    countDown();
  });
  // A page from before somebody decided would offer the decision again.
  window.addEventListener("pageshow", (event) => { if (event.persisted) window.location.reload(); });

  // ── keys ──
  const lines = () => [...document.querySelectorAll("[data-line]")];
  const step = (by) => {
    const all = lines();
    if (!all.length) return;
    const at = all.findIndex((line) => line.contains(document.activeElement));
    const next = all[Math.min(Math.max(at + by, 0), all.length - 1)];
    next.querySelector("a").focus();
  };
  const reach = (key) => {
    const to = document.querySelector(`[data-key="${key}"]`);
    if (!to) return;
    const closed = to.closest("details:not([open])");
    if (closed) closed.open = true;
    const inside = key === "r" && closed ? closed.querySelector("input:not([type=hidden])") : null;
    (inside || to).focus();
  };
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input:not([type=checkbox]):not([type=radio]), textarea, select, dialog");
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const help = document.getElementById("help");
    const keys = { j: () => step(1), k: () => step(-1), a: () => reach("a"), r: () => reach("r"), "?": () => help.showModal() };
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (act) { event.preventDefault(); act(); }
  });
  // Sent once, however often it is pressed.
  document.addEventListener("submit", (event) => {
    if (event.target.method === "dialog") return;
    if (event.target.dataset.sent) { event.preventDefault(); return; }
    event.target.dataset.sent = "1";
    say("Sent.");
  });

  times(document);
  countDown();
  setInterval(countDown, 1000);
  live();
})();
