// Tables sort by a click on a column's head: numbers by value ("2,169 rows/s", "84.6 ± 0.2"), anything else by letters.
(() => {
  const number = (text) => {
    const found = text.replace(/,(?=\d{3})/g, "").replace("−", "-").match(/^[^\d-]*?(-?\d+(?:\.\d+)?)/);
    return found ? Number(found[1]) : NaN;
  };

  const compare = (a, b) => {
    const [x, y] = [number(a), number(b)];
    if (Number.isNaN(x) && Number.isNaN(y)) return a.localeCompare(b);
    if (Number.isNaN(x)) return 1;
    return Number.isNaN(y) ? -1 : x - y;
  };

  const sort = (table, column, ascending) => {
    const body = table.tBodies[0];
    const text = (row) => row.cells[column].textContent.trim();
    const rows = [...body.rows].sort((a, b) => {
      if (!text(a) || !text(b)) return !text(a) - !text(b); // empty cells stay at the end
      return ascending ? compare(text(a), text(b)) : compare(text(b), text(a));
    });
    body.append(...rows);
  };

  const makeSortable = (table) => {
    const heads = [...table.tHead.rows[0].cells];
    table.classList.add("sortable");
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.append(...head.childNodes);
      head.append(button);
      button.title = "Sort by this column";
      button.addEventListener("click", () => {
        const ascending = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        sort(table, column, ascending);
      });
    });
  };

  const isSortable = (table) =>
    table.tHead?.rows.length === 1 &&
    table.tBodies[0].rows.length > 3 &&
    [...table.tBodies[0].rows].every((row) => row.cells.length === table.tHead.rows[0].cells.length);

  document.querySelectorAll("article table").forEach((table) => isSortable(table) && makeSortable(table));
})();
