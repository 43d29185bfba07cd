// Tables that sort and filter. Without JavaScript they stay readable tables.
"use strict";

const MISSING = null;

function cellValue(row, column, numeric) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent.trim();
  if (text === "") return MISSING;
  return numeric ? Number(text) : text;
}

// Empty cells (not run, failed) come last in both directions.
function compare(a, b, sign) {
  if (a === MISSING || b === MISSING) return (a === MISSING) - (b === MISSING);
  if (typeof a === "number") return sign * (a - b);
  return sign * a.localeCompare(b, "en", { numeric: true });
}

function sortBy(table, header) {
  const column = header.cellIndex;
  const numeric = header.dataset.kind === "number";
  const before = header.getAttribute("aria-sort");
  const first = numeric ? "descending" : "ascending";
  const second = numeric ? "ascending" : "descending";
  const order = before === first ? second : first;
  const sign = order === "ascending" ? 1 : -1;
  const body = table.tBodies[0];
  const fixed = [...body.rows].filter((row) => row.classList.contains("floor"));
  const rows = [...body.rows].filter((row) => !row.classList.contains("floor"));
  const keyed = rows.map((row) => [cellValue(row, column, numeric), row]);
  keyed.sort(([a], [b]) => compare(a, b, sign));
  body.append(...fixed, ...keyed.map(([, row]) => row));
  for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", order);
}

function makeSortable(table) {
  for (const header of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => sortBy(table, header));
  }
}

function makeFilter(form) {
  const rows = [...document.getElementById(form.dataset.table).tBodies[0].rows];
  const search = form.querySelector("input");
  const selects = [...form.querySelectorAll("select")];
  const told = form.querySelector("output");
  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = [row.cells[0].textContent, row.cells[1].textContent, row.dataset.tag ?? ""]
        .join(" ").toLowerCase();
      const fits = words.every((word) => text.includes(word)) && selects.every((select) =>
        select.value === "" || (row.dataset[select.dataset.key] ?? "").split(" ").includes(select.value));
      row.hidden = !fits;
      shown += fits;
    }
    told.value = `${shown} of ${rows.length}`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  if (search.value || selects.some((select) => select.value)) apply(); // a page that came back
}

document.querySelectorAll("table[data-sortable]").forEach(makeSortable);
document.querySelectorAll("form.filter").forEach(makeFilter);
