// Beside the text: what is picked in words, the color scale, the strongest tokens; and how far methods agree.

const TOP = 10;

const quoted = (text, width = 60) => `“${label(text, width).replace(/^·|·$/g, "")}”`;

function pickedText(pick) {
  if (pick.kind === "source") return quoted(levels[state.level].text[pick.unit]);
  if (!byToken) return quoted(data.rows.labels[pick.first]);
  const inside = data.target.map(([, rows]) => rows.some((row) => row >= pick.first && row < pick.last));
  const pieces = data.target.slice(inside.indexOf(true), inside.lastIndexOf(true) + 1);
  return quoted(pieces.map(([text]) => text).join(""));
}

// Isolated from the direction of the text around it.
function isolated(text) {
  const element = make("bdi", text);
  element.dir = "auto";
  return element;
}

function tell(pick) {
  const told = $("told");
  const method = data.methods[state.method];
  if (pick.kind === "source") {
    return told.replaceChildren("How ", isolated(pickedText(pick)), " bears on each part of the target: the target is colored.");
  }
  const count = pick.last - pick.first;
  const rows = byToken ? (count === rowCount ? "the whole target, " : "") + plural(count, "token") : "a span that was asked for";
  told.replaceChildren("What bears on ", isolated(pickedText(pick)), ` (${rows}).`);
  const asked = data.spans.find((span, i) => (byToken ? span.first === pick.first && span.last === pick.last : i === pick.first));
  if (asked?.note) told.append(" ", isolated(visible(asked.note)));
  if (byToken && count > 1) told.append(" ", make("span", summed(method), method.linear ? "" : "warn"));
}

function summed(method) {
  if (!method.signed) return `Sum of the rows; ${method.name} has no sign, and this is not what it would give the span as a whole.`;
  if (method.linear) return `Sum of the rows; rows of ${method.name} add up exactly.`;
  if (method.linear === null) return "Sum of the rows; whether rows of this method add up is not known.";
  return `Sum of the rows, not exact: ${method.name} is not linear, and would give the span as a whole other scores.`;
}

function drawScale(limit, signed) {
  const method = data.methods[state.method];
  const stops = barStops(limit, signed).map(([part, color]) => `${color} ${100 * part}%`);
  $("bar").querySelector(".gradient").style.backgroundImage = `linear-gradient(to right, ${stops.join(", ")})`;
  const ends = signed ? [-limit, 0, limit] : [0, limit];
  $("bar").querySelector(".ticks").replaceChildren(...ends.map((end) => make("span", end ? signedFigure(end, limit) : "0")));
  $("stated").textContent = statement(method);
}

// What a shown number is.
function statement(method) {
  const sign = state.absolute ? "absolute values" : method.signed ? "signed" : "no sign: how much, not for or against";
  const whose = state.pick.kind === "source" || state.view === "matrix" ? "a row's" : "the";
  const unit = state.normalized ? `share of ${whose} absolute scores shown` : `${method.objective}, ${method.unit}`;
  const reduction = method.reduction === "sum" ? "" : `, ${method.reduction}`;
  const level = levels[state.level];
  const sums = state.level ? `; sums over ${level.plural}` : "";
  return `${state.normalized ? "Normalized" : "Raw"}, ${sign}; ${unit}${reduction}${sums}. Full color: the largest ${state.view === "matrix" ? "cell" : "shown"}.`;
}

function drawSwatches() {
  const none = make("span", "no score: frozen or not defined");
  none.prepend(make("span", "", "swatch none"));
  const told = [none];
  if (!state.sinks) {
    const sinks = sinksOf(state.method);
    const count = sinks.filter(Boolean).length;
    const aside = make("span", `set aside: ${plural(count, "sink token")}, with at least ${100 * SINK_SHARE} % of the absolute scores in more than half of the rows`);
    aside.prepend(make("span", "", "swatch aside"));
    told.push(aside);
  }
  if (data.left_out) told.push(make("span", `${plural(data.left_out, "generated token")} without any score left out`));
  const note = levels[state.level].notes[state.method];
  if (note) told.push(make("span", `Note: ${note}.`));
  $("swatches").replaceChildren(...told);
}

// The strongest units of the source for a picked part of the target, or the other way round.
function strongest(pick) {
  const texts = pick.kind === "target" ? levels[state.level].text : data.rows.labels;
  const of = (method) => (pick.kind === "target" ? unitValues(method, pick.first, pick.last) : rowValues(method, pick.unit));
  const methods = state.other < 0 ? [state.method] : [state.method, state.other];
  const values = methods.map(of);
  const order = [...texts.keys()].filter((i) => !Number.isNaN(values[0][i]));
  order.sort((a, b) => Math.abs(values[0][b]) - Math.abs(values[0][a]));
  return { texts, methods, values, order };
}

function drawTop(pick) {
  const { texts, methods, values, order } = strongest(pick);
  const what = pick.kind === "target" ? `source ${levels[state.level].plural}` : `target ${byToken ? "tokens" : "spans"}`;
  $("top-caption").textContent = `Strongest ${what}`;
  const heads = ["", "text", ...methods.map((method) => (methods.length > 1 ? data.methods[method].name : "score"))];
  $("top").tHead.replaceChildren(lineOf("th", heads.map(breakable)));
  const limits = values.map(limitOf);
  const lines = order.slice(0, TOP).map((i) => {
    const scores = values.map((each, which) => scoreCell(each[i], limits[which], methods[which]));
    return lineOf("td", [make("span", String(i), "quiet"), isolated(label(texts[i])), ...scores]);
  });
  if (!lines.length) lines.push(lineOf("td", [make("span"), make("span", "no score is defined")]));
  $("top").tBodies[0].replaceChildren(...lines);
}

function scoreCell(value, limit, method) {
  const cell = make("span", Number.isNaN(value) ? "none" : signedFigure(value, limit, method), "score");
  const bar = make("span", "", "size");
  bar.style.width = `${limit && !Number.isNaN(value) ? 56 * (Math.abs(value) / limit) : 0}px`;
  bar.style.backgroundColor = cssOf(colorOf(Number.isNaN(value) ? 0 : value, Math.abs(value) || 1, signedNow(method)));
  const both = make("span", "", state.other < 0 ? "scored" : "scored narrow");
  both.append(cell, bar);
  return both;
}

function lineOf(name, cells) {
  const line = make("tr");
  for (const content of cells) {
    const cell = make(name);
    if (name === "th") cell.scope = "col";
    cell.append(content);
    line.append(cell);
  }
  return line;
}

// Rank correlation of each pair of methods: for what is picked, and row by row. The rows of long inputs take a moment:
// they are worked off in short turns, and a newer call ends an older one.
async function drawAgreement() {
  $("agreement").hidden = data.methods.length < 2;
  if (data.methods.length < 2) return;
  const turn = ++agreementTurn;
  const pairs = data.methods.flatMap((_, one) => data.methods.slice(one + 1).map((_, i) => [one, one + 1 + i]));
  const pick = state.pick.kind === "target" ? state.pick : { first: 0, last: rowCount };
  $("agreement-told").textContent = `Spearman’s rank correlation over the source ${levels[state.level].plural} shown that both methods score: 1 the same order, 0 unrelated, −1 reversed. By size only where one of the two has no sign. “none”: fewer than two scores, or all of them equal.`;
  const table = make("table", "", "figures");
  table.append(lineOf("th", ["pair", "picked", "mean of rows", "lowest row"]));
  const lines = pairs.map(([one, other]) => {
    return lineOf("td", [breakable(`${data.methods[one].name} and ${data.methods[other].name}`), correlation(agreement(one, other, pick.first, pick.last)), "…", "…"]);
  });
  table.append(...lines);
  const details = make("details");
  details.append(make("summary", `Row by row (${rowCount})`));
  details.open = Boolean($("agreement-tables").querySelector("details")?.open);
  $("agreement-tables").replaceChildren(scrolled(table, "Agreement of pairs"), details);
  const byRow = [];
  for (const [i, [one, other]] of pairs.entries()) {
    byRow.push(await rowAgreement(one, other, () => turn === agreementTurn));
    if (turn !== agreementTurn) return;
    const known = byRow[i].filter((value) => !Number.isNaN(value));
    const mean = known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : NaN;
    lines[i].cells[2].replaceChildren(correlation(mean));
    lines[i].cells[3].replaceChildren(correlation(known.length ? Math.min(...known) : NaN));
  }
  const fill = () => details.open && !details.querySelector("table") && details.append(rowTable(pairs, byRow));
  details.addEventListener("toggle", fill);
  fill();
}

let agreementTurn = 0;
const rowAgreements = new Map();

async function rowAgreement(one, other, wanted) {
  const key = `${one} ${other} ${state.level} ${state.template} ${state.sinks} ${state.absolute}`;
  const values = [];
  let began = performance.now();
  while (!rowAgreements.has(key) && values.length < rowCount) {
    values.push(agreement(one, other, values.length, values.length + 1));
    if (performance.now() - began > 12) {
      await new Promise((resolve) => setTimeout(resolve));
      if (!wanted()) return values;
      began = performance.now();
    }
  }
  if (!rowAgreements.has(key)) rowAgreements.set(key, values);
  return rowAgreements.get(key);
}

function correlation(value) {
  const element = make("span", Number.isNaN(value) ? "none" : value.toFixed(2).replace("-", "−"), "number");
  if (!Number.isNaN(value)) element.dataset.value = value;
  return element;
}

function rowTable(pairs, byRow) {
  const table = make("table", "", "figures rows");
  table.append(lineOf("th", ["row", ...pairs.map(([one, other]) => `${data.methods[one].name} and ${data.methods[other].name}`)]));
  for (let row = 0; row < rowCount; row++) {
    table.append(lineOf("td", [isolated(`${row}  ${label(data.rows.labels[row])}`), ...byRow.map((values) => correlation(values[row]))]));
  }
  return scrolled(table, "Agreement row by row");
}

function scrolled(table, name) {
  const box = make("div", "", "wide");
  box.tabIndex = 0;
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", name);
  box.append(table);
  return box;
}
