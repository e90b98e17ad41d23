"use strict";
(() => {
  const words = new Intl.Collator("en", { numeric: true });

  // An exact value where the cell has one, else the number it shows, else its text; nothing comes last.
  const value = (row, column) => {
    const cell = row.cells[column];
    const shown = cell.textContent.trim();
    if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
    if (shown === "-" || shown === "") return null;
    if (cell.tagName === "TH" || cell.classList.contains("t")) return shown;
    return Number.parseFloat(shown.replaceAll(",", "")) / (shown.endsWith("%") ? 100 : 1);
  };

  const compare = (a, b, sign) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (typeof a === "number" && typeof b === "number" ? a - b : words.compare(a, b));
  };

  const sortable = (table) => {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const heads = [...table.querySelectorAll("thead th[data-col]")];
    for (const head of heads) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const isText = head.classList.contains("t");
        const [first, second] = isText ? ["ascending", "descending"] : ["descending", "ascending"];
        const before = head.getAttribute("aria-sort");
        const order = before === first ? second : before === second ? null : first;
        for (const other of heads) other.removeAttribute("aria-sort");
        if (order) head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        const column = Number(head.dataset.col);
        const keyed = original.map((row) => [value(row, column), row]);
        if (order) keyed.sort((a, b) => compare(a[0], b[0], sign));
        body.append(...keyed.map((pair) => pair[1]));
      });
    }
  };

  const searchable = (tools) => {
    const rows = [...tools.nextElementSibling.querySelectorAll("tbody tr")];
    const texts = rows.map((row) => row.textContent.toLowerCase());
    const input = tools.querySelector("input");
    const output = tools.querySelector("output");
    input.addEventListener("input", () => {
      const terms = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let left = 0;
      rows.forEach((row, index) => {
        row.hidden = !terms.every((term) => texts[index].includes(term));
        left += !row.hidden;
      });
      const all = rows.length.toLocaleString("en");
      output.textContent = terms.length ? `${left.toLocaleString("en")} of ${all} rows` : "";
    });
    tools.hidden = false;
  };

  const copying = (button) => {
    const code = button.parentElement.querySelector("code");
    const output = button.parentElement.querySelector("output");
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
        output.textContent = "copied";
      } catch {
        getSelection().selectAllChildren(code);
        output.textContent = "selected";
      }
    });
    button.hidden = false;
  };

  document.querySelectorAll("table.rows").forEach(sortable);
  document.querySelectorAll(".tools").forEach(searchable);
  document.querySelectorAll(".command button").forEach(copying);

  // A link into a folded table opens it.
  const reveal = () => {
    const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    if (target) target.querySelector("details")?.setAttribute("open", "");
  };
  addEventListener("hashchange", reveal);
})();
