// All that the pages run: ages that stay true. Everything works without it.
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
  // The clock here may be wrong: ages grow from what the service said when the page was loaded.
  const began = Date.now();
  const tick = () => {
    for (const time of document.querySelectorAll("time[data-ago]")) {
      time.dataset.lead ||= String(began - Date.parse(time.dateTime));
      const text = age(Math.floor((Number(time.dataset.lead) + Date.now() - began) / 1000));
      if (time.textContent !== text) time.textContent = text;
    }
  };
  setInterval(tick, 10000);
})();
