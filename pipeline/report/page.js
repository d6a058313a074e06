"use strict";
// Without this script the page shows all of its data, in English; it adds what can be clicked.
(() => {
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const one = (selector, within = document) => within.querySelector(selector);
  const chinese = () => root.dataset.language === "zh";

  // A page that is opened from a file may have no storage.
  const kept = {
    get(name) {
      try { return localStorage.getItem(`report-${name}`); } catch { return null; }
    },
    set(name, value) {
      try { localStorage.setItem(`report-${name}`, value); } catch { /* not kept, then */ }
    },
  };

  function speak(language) {
    root.dataset.language = language;
    root.lang = language === "zh" ? "zh-CN" : "en";
  }

  function shade(theme) {
    if (theme) root.dataset.theme = theme;
    else delete root.dataset.theme;
  }

  function setUpControls() {
    speak(kept.get("language") || (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en"));
    shade(kept.get("theme"));
    one("#language").addEventListener("click", () => {
      speak(chinese() ? "en" : "zh");
      kept.set("language", root.dataset.language);
    });
    one("#theme").addEventListener("click", () => {
      const dark = matchMedia("(prefers-color-scheme: dark)").matches;
      const now = root.dataset.theme || (dark ? "dark" : "light");
      shade(now === "dark" ? "light" : "dark");
      kept.set("theme", root.dataset.theme);
    });
    one(".controls").hidden = false;
  }

  function valueOf(row, column, kind) {
    const text = row.cells[column].firstChild?.textContent.trim() ?? "";
    return kind === "number" ? Number.parseFloat(text.replaceAll(",", "")) : text;
  }

  function sort(table, column, kind, ascending) {
    const order = kind === "number"
      ? (a, b) => a - b
      : (a, b) => (a < b ? -1 : Number(a > b));
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [valueOf(row, column, kind), row]);
    rows.sort(([a], [b]) => (ascending ? order(a, b) : order(b, a)));
    body.append(...rows.map(([, row]) => row));
  }

  function setUpSorting(table) {
    const heads = all("th[data-sort]", table);
    for (const head of heads) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        // Numbers begin with the greatest, names with the first.
        const first = head.dataset.sort === "number" ? "descending" : "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const way = head.getAttribute("aria-sort") === first ? other : first;
        for (const each of heads) each.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", way);
        sort(table, head.cellIndex, head.dataset.sort, way === "ascending");
      });
    }
  }

  function setUpFilter() {
    const input = one("#filter");
    if (!input) return;
    const rows = all("#class-table tbody tr");
    input.addEventListener("input", () => {
      const wanted = input.value.trim().toLowerCase();
      let shown = 0;
      for (const row of rows) {
        const number = row.cells[0].textContent;
        row.hidden = !(number === wanted || row.cells[1].textContent.toLowerCase().includes(wanted));
        shown += !row.hidden;
      }
      one("#filter-none").hidden = shown > 0;
    });
    one(".filter").hidden = false;
  }

  function setUpGallery() {
    const dialog = one("#larger");
    const cards = all(".wrong").filter((card) => one("img", card));
    let place = 0;
    function show(number) {
      place = (number + cards.length) % cards.length;
      const copies = [...cards[place].childNodes].map((node) => node.cloneNode(true));
      const larger = one(".larger", dialog);
      larger.replaceChildren(...copies);
      const button = one("button", larger);
      button.replaceWith(...button.childNodes);
    }
    cards.forEach((card, number) => {
      const image = one("img", card);
      const button = document.createElement("button");
      button.type = "button";
      image.replaceWith(button);
      button.append(image);
      button.setAttribute("aria-haspopup", "dialog");
      button.addEventListener("click", () => {
        show(number);
        dialog.showModal();
      });
    });
    for (const button of all("[data-step]", dialog)) {
      button.addEventListener("click", () => show(place + Number(button.dataset.step)));
    }
    dialog.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step) show(place + step);
    });
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
  }

  function setUpCopying() {
    const box = one(".commands");
    if (!box) return;
    const button = document.createElement("button");
    button.type = "button";
    const say = (name) => button.replaceChildren(one(`#${name}`).content.cloneNode(true));
    say("copy");
    button.addEventListener("click", async () => {
      const text = one("pre", box).textContent.trim() + "\n";
      try {
        await navigator.clipboard.writeText(text);
      } catch { // not allowed in a page from a file, in some browsers
        getSelection().selectAllChildren(one("pre", box));
        document.execCommand("copy");
      }
      say("copied");
      setTimeout(() => say("copy"), 2000);
    });
    box.append(button);
  }

  setUpControls();
  all("table.sortable").forEach(setUpSorting);
  setUpFilter();
  setUpGallery();
  setUpCopying();
})();
