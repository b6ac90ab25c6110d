// What the other files share. All text is written with textContent: nothing in a prompt can become markup.

const data = JSON.parse(document.getElementById("data").textContent);
const blocks = [...document.querySelectorAll("script.rows")].map((element) => ({ element, count: Number(element.dataset.count), rows: null }));
const total = blocks.reduce((sum, block) => sum + block.count, 0);

const $ = (id) => document.getElementById(id);

function make(name, text = "", kind = "") {
  const element = document.createElement(name);
  if (text) element.textContent = text;
  if (kind) element.className = kind;
  return element;
}

// White space and what steers the direction of text, spelled out.
const visible = (text) =>
  text.replaceAll("\n", "⏎").replaceAll("\t", "⇥")
    .replace(/[\p{Cc}\p{Zl}\p{Zp}\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\p{Cs}]/gu, (each) => `\\u${each.codePointAt(0).toString(16).padStart(4, "0")}`);

function isolated(text) {
  const element = make("bdi", visible(text));
  return element;
}

function line(cells, numeric = []) {
  const row = make("tr");
  cells.forEach((content, i) => {
    const cell = make("td", "", numeric.includes(i) ? "number" : "");
    cell.append(content);
    row.append(cell);
  });
  return row;
}

function table(headings) {
  const found = make("table");
  const row = make("tr");
  for (const heading of headings) {
    const cell = make("th", heading);
    cell.scope = "col";
    row.append(cell);
  }
  found.append(make("thead"), make("tbody"));
  found.tHead.append(row);
  return found;
}

// A table that may be wider than the screen; its edge has a shadow while there is more.
function wide(content) {
  const box = make("div", "", "wide");
  box.append(content);
  box.tabIndex = 0;
  return box;
}

// The rows of a block; a block is read when it is first asked for.
function rowsOf(block) {
  if (!block.rows) {
    block.rows = JSON.parse(block.element.textContent);
    block.element.remove();
  }
  return block.rows;
}

// The row at a place among all rows of the page.
function rowAt(place) {
  for (const block of blocks) {
    if (place < block.count) return rowsOf(block)[place];
    place -= block.count;
  }
  return null;
}

const limitOf = (span) => span.scores.reduce((most, score) => Math.max(most, typeof score === "number" ? Math.abs(score) : 0), 0);

// The pieces with the largest absolute scores, the strongest first.
function strongest(span, count) {
  const places = span.scores.map((_, i) => i).filter((i) => typeof span.scores[i] === "number");
  return places.sort((one, other) => Math.abs(span.scores[other]) - Math.abs(span.scores[one]) || one - other).slice(0, count);
}

const figure = (score) => `${data.signed && score > 0 ? "+" : ""}${Number(score.toPrecision(4))}`.replace("-", "−");
