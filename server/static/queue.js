// The queue: live updates that never move the row in focus, and the keyboard. Everything works without this script.
"use strict";
(() => {
  const frame = document.getElementById("queue");
  if (!frame || !window.fetch || !window.DOMParser) return;

  const known = new Map(); // id -> the server's last text of that element
  let query = frame.dataset.rows;
  let running = false;
  let again = false;
  const REFRESH_MS = 60000; // Relative times and deadlines are words of the server; they are asked for again.
  const RETRY_MS = 5000;

  const rows = () => Array.from(frame.querySelectorAll("article.row"));
  const focusedRow = () => document.activeElement && document.activeElement.closest("article.row");
  const byId = (id) => document.getElementById(id);

  function remember(root) {
    known.clear();
    root.querySelectorAll("article.row").forEach((row) => known.set(row.id, row.innerHTML));
  }

  function announce(data) {
    document.title = data.dataset.title;
    const live = byId("announce");
    if (live.textContent !== data.dataset.announce) live.textContent = data.dataset.announce;
  }

  // Brings the children of `now` to those of `next`, keeping every element that has the same data-id.
  function patch(now, next, first) {
    let place = now.firstElementChild;
    const wanted = new Set();
    for (const fresh of Array.from(next.children)) {
      const id = fresh.dataset.id || fresh.id;
      let here = id && byId(id);
      if (id) wanted.add(id);
      if (!here || !frame.contains(here)) {
        here = document.importNode(fresh, true);
        if (!first) mark(here);
      } else if (fresh.matches("section.group")) {
        patch(here, fresh, first);
      } else if (fresh.matches("article.row")) {
        update(here, fresh);
      } else if (here.innerHTML !== fresh.innerHTML) {
        here.innerHTML = fresh.innerHTML;
      }
      if (here === place) {
        place = place.nextElementSibling;
      } else {
        now.insertBefore(here, place);
      }
    }
    while (place) {
      const gone = place;
      place = place.nextElementSibling;
      if (!wanted.has(gone.dataset.id || gone.id)) gone.remove();
    }
  }

  function mark(element) {
    const arrived = element.matches("article.row") ? [element] : element.querySelectorAll("article.row");
    arrived.forEach((row) => row.classList.add("arrived"));
  }

  function update(row, fresh) {
    row.className = fresh.className;
    row.setAttribute("aria-label", fresh.getAttribute("aria-label"));
    if (known.get(row.id) === fresh.innerHTML) return;
    const inside = row.contains(document.activeElement) && document.activeElement !== row;
    const key = inside && document.activeElement.dataset.key;
    row.innerHTML = fresh.innerHTML;
    if (inside) (row.querySelector(`[data-key="${key}"]`) || row).focus({ preventScroll: true });
  }

  function apply(text) {
    const page = new DOMParser().parseFromString(text, "text/html");
    const data = page.getElementById("queue-data");
    const list = page.getElementById("queue-list");
    const side = page.getElementById("queue-side");
    if (!data || !list || !side) return false;
    const typing = document.activeElement === byId("filter");
    const anchor = focusedRow() || rows().find((row) => row.getBoundingClientRect().bottom > 0);
    const top = anchor && anchor.getBoundingClientRect().top;
    const focused = focusedRow() && document.activeElement;
    patch(byId("queue-list"), list, false);
    if (!byId("queue-side").contains(document.activeElement)) byId("queue-side").innerHTML = side.innerHTML;
    // The row that a person looks at stays where it is on the glass.
    if (anchor && anchor.isConnected && !typing) {
      if (focused && document.activeElement !== focused && focused.isConnected) focused.focus({ preventScroll: true });
      const moved = anchor.getBoundingClientRect().top - top;
      if (Math.abs(moved) > 1 && (focused || window.scrollY > 0)) window.scrollBy(0, moved);
    }
    remember(page);
    announce(data);
    return true;
  }

  async function refresh() {
    if (running) { again = true; return; }
    running = true;
    try {
      const answer = await fetch(query, { headers: { "X-Requested-With": "fetch" }, redirect: "manual", cache: "no-store" });
      if (answer.type === "opaqueredirect") { window.location.reload(); return; } // The login has ended.
      if (answer.ok) apply(await answer.text());
    } catch { /* The event stream says that the connection is lost. */ }
    running = false;
    if (again) { again = false; refresh(); }
  }

  // Events only say that something changed; the rows are asked for in full, also after every reconnect.
  function listen() {
    const events = new EventSource(frame.dataset.events);
    const state = (live) => {
      document.body.classList.toggle("is-live", live);
      document.body.classList.toggle("is-lost", !live);
    };
    events.addEventListener("open", () => { state(true); refresh(); });
    events.addEventListener("changed", refresh);
    events.addEventListener("error", () => {
      state(false);
      if (events.readyState === EventSource.CLOSED) window.setTimeout(listen, RETRY_MS);
    });
  }

  async function send(form) {
    const body = new URLSearchParams(new FormData(form));
    const answer = await fetch(form.action, { method: "POST", body, redirect: "manual" });
    if (answer.type === "opaqueredirect") { await refresh(); return; }
    form.submit(); // Anything else has a page that says what happened.
  }

  frame.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.matches("form.step")) {
      event.preventDefault();
      form.querySelector("button").disabled = true;
      send(form).catch(() => form.submit());
    }
  });

  let pause = 0;
  frame.addEventListener("input", (event) => {
    if (event.target.id !== "filter") return;
    window.clearTimeout(pause);
    pause = window.setTimeout(() => {
      const asked = new URLSearchParams(new FormData(event.target.form)).toString();
      query = `/queue/rows?${asked}`;
      window.history.replaceState(null, "", `/queue?${asked}`);
      refresh();
    }, 200);
  });

  function move(step) {
    const all = rows();
    if (all.length === 0) return;
    const at = all.indexOf(focusedRow());
    const to = at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + step, 0), all.length - 1);
    all[to].focus();
    all[to].scrollIntoView({ block: "nearest" });
  }

  function press(step) {
    const button = focusedRow() && focusedRow().querySelector(`form[data-step="${step}"] button`);
    if (button) button.click();
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const field = event.target.closest("input, textarea, select");
    if (field) {
      if (event.key === "Escape") field.blur();
      return;
    }
    const help = byId("help");
    if (help.open) return;
    switch (event.key) {
      case "j": move(1); break;
      case "k": move(-1); break;
      case "a": press("acknowledge"); break;
      case "t": press("take"); break;
      case "/": byId("filter").focus(); break;
      case "?": help.showModal(); break;
      case "Enter":
        if (event.target.matches("article.row")) window.location.assign(event.target.dataset.href);
        else return;
        break;
      default: return;
    }
    event.preventDefault();
  });

  remember(document);
  if (window.EventSource) listen();
  window.setInterval(refresh, REFRESH_MS);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
})();
