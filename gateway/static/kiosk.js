// Follows the screen: swaps in what the server draws, counts down, and covers the page when the server is gone.
// The page works without this file; then it loads itself again every few seconds.
"use strict";
(() => {
  // Three beats of the server, ms.
  const SILENCE_MS = 9500;
  const RETRY_MS = 1000;
  let heardAt = performance.now();
  let covered = false;
  let loading = false;
  let wanted = null;

  const shownRevision = () => document.body.dataset.revision;

  const prepare = () => {
    const keypad = document.getElementById("keypad");
    if (keypad) {
      keypad.hidden = false;
    }
    const shownAt = performance.now();
    for (const left of document.querySelectorAll("[data-left]")) {
      left.dataset.until = String(shownAt + Number(left.dataset.left) * 1000);
    }
    const focus = document.querySelector("[autofocus]") || document.getElementById("screen");
    if (focus) {
      focus.focus({ preventScroll: true });
    }
  };

  const load = async () => {
    if (loading) {
      return;
    }
    loading = true;
    try {
      const answer = await fetch("/", { cache: "no-store", headers: { accept: "text/html" } });
      if (!answer.ok) {
        throw new Error("not ready");
      }
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      document.documentElement.lang = page.documentElement.lang;
      document.title = page.title;
      document.body.replaceWith(page.body);
      covered = false;
      window.scrollTo(0, 0);
      prepare();
    } catch {
      setTimeout(follow, RETRY_MS);
    } finally {
      loading = false;
    }
    follow();
  };

  const follow = () => {
    if (wanted !== null && (covered || wanted !== shownRevision())) {
      load();
    }
  };

  // Nobody must read a result that nobody wipes.
  const cover = () => {
    const main = document.getElementById("screen");
    if (covered || !main) {
      return;
    }
    covered = true;
    const words = document.createElement("h1");
    words.textContent = document.body.dataset.lost;
    main.replaceChildren(words);
    document.querySelector(".warning")?.remove();
  };

  const twoDigits = (number) => String(number).padStart(2, "0");

  const tick = () => {
    const now = performance.now();
    for (const left of document.querySelectorAll("[data-until]")) {
      const seconds = Math.max(0, Math.ceil((Number(left.dataset.until) - now) / 1000));
      const text = "clock" in left.dataset ? `${Math.floor(seconds / 60)}:${twoDigits(seconds % 60)}` : String(seconds);
      if (left.textContent !== text) {
        left.textContent = text;
      }
    }
    if (now - heardAt > SILENCE_MS) {
      cover();
    }
  };

  // The keypad: taps go into the field; a physical keyboard works all the same.
  document.addEventListener("click", (event) => {
    const key = event.target.closest("#keypad button");
    const code = document.getElementById("code");
    if (!key || !code) {
      return;
    }
    if ("key" in key.dataset && code.value.length < code.maxLength) {
      code.value += key.dataset.key;
    } else if ("delete" in key.dataset) {
      code.value = code.value.slice(0, -1);
    } else if ("switch" in key.dataset) {
      for (const keys of document.querySelectorAll("#keypad .keys")) {
        keys.hidden = !keys.classList.contains(key.dataset.switch);
      }
    }
  });

  // A second tap while the first is on its way would only be refused.
  document.addEventListener("submit", (event) => {
    if (event.target.dataset.sent) {
      event.preventDefault();
    }
    event.target.dataset.sent = "yes";
  });

  // A page that the browser kept may show the person before.
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) {
      cover();
      location.reload();
    }
  });

  const events = new EventSource("/events");
  const heard = () => {
    heardAt = performance.now();
  };
  events.addEventListener("beat", () => {
    heard();
    follow();
  });
  events.addEventListener("revision", (event) => {
    heard();
    wanted = event.data;
    follow();
  });
  setInterval(tick, 250);
  prepare();
})();
