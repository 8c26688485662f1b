// Keeps the list fresh. Without this script the page works the same; a reload shows what is new.
(() => {
  "use strict";
  const list = document.getElementById("list");
  const live = document.getElementById("live");
  const word = document.getElementById("live-word");
  const news = document.getElementById("news");
  const url = new URL(list.dataset.url, location.href);
  url.searchParams.set("selected", list.dataset.selected);
  let shown = null;

  const total = () => Number(list.querySelector(".filters b").textContent);

  function replace(text) {
    const before = total();
    const focused = list.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    const scrolled = list.scrollTop;
    list.innerHTML = text;  // our own server's list, escaped there
    list.scrollTop = scrolled;
    if (focused) {
      const same = [...list.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused);
      if (same) same.focus({ preventScroll: true });
    }
    const more = total() - before;
    if (more > 0) news.textContent = more === 1 ? "One new message" : `${more} new messages`;
  }

  async function look() {
    if (document.hidden) return;
    try {
      const answer = await fetch(url, { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.status);
      const text = await answer.text();
      if (shown !== null && text !== shown) replace(text);
      shown = text;
      live.classList.remove("lost");
      word.textContent = "Live";
    } catch {
      live.classList.add("lost");
      word.textContent = "Not reachable";
    }
  }

  live.hidden = false;
  look();
  setInterval(look, 1500);
  document.addEventListener("visibilitychange", look);
})();
