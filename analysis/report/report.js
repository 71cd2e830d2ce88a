"use strict";
// Makes every table of the page sortable and filterable. Its rows are in the JSON beside it, column by column.
const PAGE = 100;
const FORMATS = {
  integer: (value) => Math.round(value).toLocaleString("en-US"),
  axis: (value) => (Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)))),
  decimal: (value) => value.toFixed(4),
  signed: (value) => (value < 0 ? "" : "+") + value.toFixed(4),
  hours: (value) => value.toFixed(2),
  p: (value) => (value < 0.001 ? "<0.001" : value.toFixed(3)),
  interval: (value) => `[${value[0].toFixed(4)}, ${value[1].toFixed(4)}]`,
};
const collator = new Intl.Collator("en", { numeric: true });

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// For each row a number that sorts it, NaN for a blank.
function sortKeys(column) {
  if (column.words) {
    const order = column.words.map((_, code) => code).sort((a, b) => collator.compare(column.words[a], column.words[b]));
    const ranks = new Float64Array(order.length);
    order.forEach((code, rank) => { ranks[code] = column.words[code] === "" ? NaN : rank; });
    return Float64Array.from(column.codes, (code) => ranks[code]);
  }
  return Float64Array.from(column.values, (value) => (value === null ? NaN : Array.isArray(value) ? value[0] : value));
}

function shownText(column, row) {
  if (column.words) return column.words[column.codes[row]];
  const value = column.values[row];
  return value === null ? "" : FORMATS[column.kind](value);
}

function explore(root) {
  const { columns, choices } = JSON.parse(root.querySelector("script").textContent);
  const [body, head, more] = ["tbody", "thead tr", ".more"].map((part) => root.querySelector(part));
  const headings = [...head.children];
  const total = columns.length ? (columns[0].codes || columns[0].values).length : 0;
  const original = Array.from({ length: total }, (_, row) => row);
  const chosen = new Map();
  let sorted = original, matching = original, limit = PAGE, terms = [];

  const count = element("output", {});
  count.setAttribute("aria-live", "polite");
  const next = element("button", { type: "button", onclick: () => { limit += PAGE; draw(); } });

  function cell(column, index, row) {
    const text = shownText(column, row);
    const made = element("td", { className: headings[index].className });
    if (column.kind === "label") {
      made.dataset.label = text;
      made.append(element("span", { textContent: text }));
    } else made.textContent = text;
    return made;
  }

  function draw() {
    const rows = matching.slice(0, limit);
    body.replaceChildren(...rows.map((row) => element("tr", {}, ...columns.map((column, i) => cell(column, i, row)))));
    count.textContent = `${matching.length.toLocaleString("en-US")} of ${total.toLocaleString("en-US")} rows`;
    const left = matching.length - rows.length;
    next.hidden = left === 0;
    next.textContent = `Show ${Math.min(PAGE, left)} more of ${left.toLocaleString("en-US")}`;
  }

  function filter() {
    const found = terms.map((term) => columns.filter((column) => column.words).map((column) => {
      const hit = column.words.map((word) => word.toLowerCase().includes(term));
      return (row) => hit[column.codes[row]];
    }));
    matching = sorted.filter((row) =>
      [...chosen].every(([column, wanted]) => shownText(column, row) === wanted)
      && found.every((tests) => tests.some((test) => test(row))));
    limit = PAGE;
    draw();
  }

  function sort(index) {
    const descending = headings[index].getAttribute("aria-sort") === "ascending";
    headings.forEach((heading) => heading.removeAttribute("aria-sort"));
    headings[index].setAttribute("aria-sort", descending ? "descending" : "ascending");
    const keys = sortKeys(columns[index]);
    const sign = descending ? -1 : 1;
    sorted = original.slice().sort((a, b) => {
      const blanks = Number.isNaN(keys[a]) - Number.isNaN(keys[b]);
      return blanks || (Number.isNaN(keys[a]) ? 0 : sign * (keys[a] - keys[b]));
    });
    filter();
  }

  function choice(column) {
    const rows = original.map((row) => shownText(column, row));
    const levels = [...new Set(rows)].filter((level) => level !== "").sort(collator.compare);
    const select = element("select", {
      onchange: () => {
        if (select.value) chosen.set(column, select.value); else chosen.delete(column);
        filter();
      },
    }, element("option", { value: "", textContent: "all" }), ...levels.map((level) => element("option", { textContent: level })));
    return element("label", {}, column.heading, select);
  }

  headings.forEach((heading, index) => {
    const button = element("button", { type: "button", textContent: heading.textContent, onclick: () => sort(index) });
    heading.replaceChildren(button);
  });
  const search = element("input", {
    type: "search",
    oninput: () => {
      terms = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      filter();
    },
  });
  const controls = root.querySelector(".controls");
  controls.append(element("label", {}, "search", search), ...choices.map((index) => choice(columns[index])), count);
  controls.hidden = false;
  more.replaceChildren(next);
  draw();
}

document.querySelectorAll(".explorer").forEach(explore);
