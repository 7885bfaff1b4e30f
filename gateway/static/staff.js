// Keeps the staff page fresh: draws it anew when it changes, counts down, and leaves somebody who types alone.
// The page works without this file; then it loads itself again every few seconds.
"use strict";
(() => {
  const LOOK_MS = 1000;
  let loading = false;

  const prepare = () => {
    const shownAt = performance.now();
    for (const left of document.querySelectorAll("[data-left]")) {
      left.dataset.until = String(shownAt + Number(left.dataset.left) * 1000);
    }
    const focus = document.querySelector("[autofocus]");
    if (focus) {
      focus.focus({ preventScroll: true });
    }
  };

  const isBusy = () => {
    const active = document.activeElement;
    return active !== null && active.closest("main") !== null && active.id !== "screen";
  };

  const look = async () => {
    if (loading || !("live" in document.body.dataset) || document.hidden) {
      return;
    }
    loading = true;
    try {
      const answer = await fetch("/staff?auto=1", { cache: "no-store", headers: { accept: "text/html" } });
      if (!answer.ok) {
        return;
      }
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const changed = page.body.dataset.key !== document.body.dataset.key;
      if (changed || !isBusy()) {
        const at = window.scrollY;
        document.documentElement.lang = page.documentElement.lang;
        document.title = page.title;
        document.body.replaceWith(page.body);
        window.scrollTo(0, changed ? 0 : at);
        prepare();
      }
    } catch {
      // The program is stopping or not there; the next look finds out.
    } finally {
      loading = false;
    }
  };

  const count = () => {
    for (const left of document.querySelectorAll("[data-until]")) {
      const seconds = Math.max(0, Math.ceil((Number(left.dataset.until) - performance.now()) / 1000));
      left.textContent = String(seconds);
    }
  };

  prepare();
  setInterval(count, 250);
  setInterval(look, LOOK_MS);
})();
