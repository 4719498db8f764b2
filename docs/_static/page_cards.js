/* Buttons that show only the pages of one level or about one subject. Without scripts all are shown. */
(() => {
  const bar = document.querySelector(".page-filter");
  if (!bar) return;
  const cards = [...document.querySelectorAll(".page-card")];
  const tagsOf = (card) => [...card.classList].filter((name) => name.startsWith("tag-"));
  const tags = [...new Set(cards.flatMap(tagsOf))];
  const count = (tag) => cards.filter((card) => card.classList.contains(tag)).length;
  const status = Object.assign(document.createElement("span"), { className: "page-count" });
  status.setAttribute("role", "status");

  const show = (chosen) => {
    for (const card of cards) card.hidden = chosen !== null && !card.classList.contains(chosen);
    for (const section of document.querySelectorAll(".bd-article section section")) {
      const own = [...section.querySelectorAll(".page-card")];
      section.hidden = own.length > 0 && own.every((card) => card.hidden);
    }
    for (const button of bar.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.value === (chosen ?? "")));
    }
    status.textContent = `${cards.filter((card) => !card.hidden).length} of ${cards.length} pages`;
  };

  const add = (value, label) => {
    const button = Object.assign(document.createElement("button"), { type: "button", value });
    button.textContent = label;
    button.addEventListener("click", () => show(value || null));
    bar.append(button);
  };
  add("", "all");
  const levels = ["tag-beginner", "tag-intermediate", "tag-advanced"];
  const order = (tag) => (levels.includes(tag) ? levels.indexOf(tag) : levels.length);
  for (const tag of tags.sort((a, b) => order(a) - order(b) || count(b) - count(a))) {
    add(tag, tag.slice("tag-".length).replaceAll("-", " "));
  }
  bar.setAttribute("role", "group");
  bar.setAttribute("aria-label", "Show the pages of");
  bar.append(status);
  show(null);
})();
