// All that the pages run: ages that stay true, and the log of a deployment that is under way. Everything else, and
// everything in the pages, works without it. Foreign text only ever becomes text here, never markup.
"use strict";

(() => {
  const age = (seconds) => {
    if (seconds < 10) return "just now";
    if (seconds < 60) return `${seconds} s ago`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
    if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ago`;
    if (seconds < 5184000) return `${Math.floor(seconds / 86400)} days ago`;
    if (seconds < 63072000) return `${Math.floor(seconds / 2592000)} months ago`;
    return `${Math.floor(seconds / 31536000)} years ago`;
  };
  // The clock here may be wrong: the page says what time it was when it was made.
  const skew = Date.now() - Date.parse(document.body.dataset.now);
  const tick = () => {
    for (const time of document.querySelectorAll("time[data-ago]")) {
      const seconds = Math.max(0, Math.floor((Date.now() - skew - Date.parse(time.dateTime)) / 1000));
      const text = age(seconds);
      if (time.textContent !== text) time.textContent = text;
    }
  };
  setInterval(tick, 10000);

  // What a deployment said last is what it failed with.
  for (const ended of document.querySelectorAll("#log[data-end]")) ended.scrollTop = ended.scrollHeight;

  const log = document.querySelector("#log[data-live]");
  const told = document.querySelector("#live");
  if (!log || !told) return;

  const part = (kind, text) => {
    const made = document.createElement(kind === "at" || kind === "text" ? "span" : "div");
    made.className = kind;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const isAtEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  let stage = [...log.querySelectorAll(".stage-name")].pop()?.textContent;

  // Most lines that are kept in the page; the earlier ones are a link away.
  const MOST = 5000;
  const add = (lines) => {
    const follows = isAtEnd();
    log.querySelector(".waiting")?.remove();
    for (const line of lines) {
      if (line.stage && line.stage !== stage) {
        stage = line.stage;
        log.append(part("stage-name", stage));
      }
      const made = part("line");
      made.append(part("at", line.at), " ", part("text", line.text));
      log.append(made);
    }
    while (log.childElementCount > MOST) log.firstElementChild.remove();
    if (follows) log.scrollTop = log.scrollHeight;
  };

  // What else changed is rendered by the service once more, and taken from there part by part.
  let isAsking = false;
  let isStale = false;
  const refresh = async () => {
    if (isAsking) {
      isStale = true;
      return;
    }
    isAsking = true;
    try {
      const answer = await fetch(location.pathname, { headers: { accept: "text/html" } });
      if (answer.ok && !answer.redirected) {
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        for (const old of document.querySelectorAll("[data-fresh]")) {
          const now = fresh.getElementById(old.id);
          const isUsed = old.contains(document.activeElement);
          if (now && !isUsed && now.innerHTML !== old.innerHTML) old.replaceWith(document.adoptNode(now));
        }
        document.title = fresh.title;
      }
    } catch {
      // The stream says when the service is back.
    }
    setTimeout(() => {
      isAsking = false;
      if (isStale) {
        isStale = false;
        refresh();
      }
    }, 2000);
  };

  const source = new EventSource(`${log.dataset.live}?after=${log.dataset.after}`);
  source.onopen = () => { told.textContent = "Live"; };
  source.onerror = () => {
    told.textContent = source.readyState === EventSource.CLOSED ? "No longer live: load the page anew" : "Connecting again …";
  };
  source.addEventListener("lines", (event) => add(JSON.parse(event.data)));
  source.addEventListener("changed", refresh);
  source.addEventListener("over", () => {
    source.close();
    told.textContent = "Ended";
    refresh();
  });
})();
