"use strict";
/* Sorting: by the cell's data-value where there is one, else by its number or text. */
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const key = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    const number = Number(text.replaceAll(",", ""));
    return text !== "" && !Number.isNaN(number) ? number : text;
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const first = heading.classList.contains("n") && column > 0 ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = heading.getAttribute("aria-sort") === first ? other : first;
      for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const rows = [...body.rows].map((row, place) => [key(row, column), place, row]);
      rows.sort((a, b) => sign * compare(a[0], b[0]) || a[1] - b[1]);
      body.append(...rows.map((entry) => entry[2]));
    });
  });
}
/* Tips: the drawings' titles, shown at once instead of after the browser's pause. */
const tip = document.getElementById("tip");
for (const title of document.querySelectorAll("svg title")) {
  const group = title.parentNode;
  const text = title.textContent;
  group.setAttribute("aria-label", text);
  title.remove();
  group.addEventListener("pointermove", (event) => {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 8)) + "px";
    const below = event.clientY + 18;
    tip.style.top = (below + box.height > innerHeight ? event.clientY - box.height - 12 : below) + "px";
  });
  group.addEventListener("pointerleave", () => { tip.hidden = true; });
}
