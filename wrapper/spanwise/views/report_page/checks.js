// Checks and provenance: values of any shape as tables. A list of records is a table, a record a list of facts.

const STATES = {
  pass: "✓ pass", passed: "✓ pass", ok: "✓ ok", fail: "✗ fail", failed: "✗ fail", warn: "! warn",
  "not applicable": "– not applicable",
};
const LONG = 160; // characters of a list that is folded away

const isRecord = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const isSimple = (value) => value === null || typeof value !== "object";
const words = (name) => visible(name.replaceAll("_", " "));

function drawChecks() {
  const parts = [completeness()];
  for (const [name, value] of Object.entries(data.checks)) {
    parts.push(make("h3", words(name)), shown(value, name));
  }
  if (!Object.keys(data.checks).length) {
    parts.push(make("p", "No other checks were handed to this report: evaluation, sanity checks and comparisons appear here when they are.", "quiet"));
  }
  $("checks").replaceChildren(...parts);
}

function completeness() {
  const table = make("table", "", "figures");
  table.append(lineOf("th", ["method", "completeness gap"]));
  for (const method of data.methods) {
    const gap = method.gap === null ? "not promised by this method" : `${(100 * method.gap).toPrecision(2)} % of the change from the baseline`;
    table.append(lineOf("td", [method.name, gap]));
  }
  return scrolled(table, "Completeness");
}

function shown(value, name) {
  if (Array.isArray(value) && value.length && value.every(isRecord)) return recordTable(value, name);
  if (isSentences(value)) return sentences(value);
  if (isRecord(value)) return isTable(value) ? recordTable(named(value), name) : facts(value);
  if (isSimple(value)) return simple(value);
  return list(value);
}

const isSentences = (value) => Array.isArray(value) && value.some((each) => typeof each === "string" && each.length > 60);

function sentences(texts) {
  const box = make("div", "", "sentences");
  for (const text of texts) {
    const line = make("p");
    line.append(isolated(plainText(text)));
    box.append(line);
  }
  return box;
}

// Records under names, all of the same shape, are a table too.
const isTable = (value) => Object.keys(value).length > 1 && Object.values(value).every((each) => isRecord(each) && Object.values(each).every(isSimple));
const named = (value) => Object.entries(value).map(([name, each]) => ("name" in each ? each : { name, ...each }));

function simple(value) {
  if (typeof value === "string" && Object.hasOwn(STATES, value)) {
    const badge = make("span", STATES[value], "badge");
    badge.dataset.status = value;
    return badge;
  }
  if (value === null) return make("span", "none", "quiet");
  if (typeof value === "boolean") return make("span", value ? "yes" : "no");
  if (typeof value === "number") return make("span", number(value), "number");
  return isolated(visible(value));
}

function number(value) {
  if (Number.isInteger(value)) return value.toLocaleString("en").replace("-", "−");
  const size = Math.abs(value);
  return (size < 1e-3 || size >= 1e6 ? value.toExponential(2) : String(Number(value.toPrecision(4)))).replace("-", "−");
}

const plainText = (value) => (typeof value === "number" ? number(value) : visible(String(value ?? "none")));

function list(values) {
  if (!values.every(isSimple)) return folded(JSON.stringify(values));
  const text = values.map(plainText).join(", ");
  return text.length > LONG ? folded(text, plural(values.length, "value")) : isolated(text || "none");
}

function folded(text, summary = "values") {
  const details = make("details");
  details.append(make("summary", summary), make("p", visible(text), "folded"));
  return details;
}

// Columns in which nothing stands are left out.
function recordTable(records, name) {
  const empty = (value) => value === null || value === "" || (typeof value === "object" && !Object.keys(value).length);
  const keys = [...new Set(records.flatMap((record) => Object.keys(record)))].filter((key) => !records.every((record) => empty(record[key] ?? null)));
  const table = make("table", "", "figures");
  table.append(lineOf("th", keys.map(words)));
  for (const record of records) {
    table.append(lineOf("td", keys.map((key) => (key in record && !empty(record[key]) ? cell(record[key]) : make("span", "–", "quiet")))));
  }
  return scrolled(table, words(name));
}

// A short record in a cell stands in one line; what is long is folded away.
function cell(value) {
  if (Array.isArray(value) && value.some(isRecord)) return later("rows", value);
  if (typeof value === "string" && value.length > 60) return Object.assign(make("div", visible(value), "long"), { dir: "auto" });
  if (!isRecord(value)) return shown(value, "");
  const parts = Object.entries(value);
  if (parts.length > 4 || !parts.every(([, each]) => isSimple(each))) return later("values", value);
  return isolated(parts.map(([key, each]) => `${words(key)} ${plainText(each)}`).join(", ") || "none");
}

// A record: its sentences first, then tables that have a status, then single facts; what is long is folded away.
function facts(record) {
  const [told, tables, pairs, rest] = [make("div"), make("div"), make("dl"), make("div")];
  for (const [key, value] of Object.entries(record)) {
    const records = Array.isArray(value) && value.length > 0 && value.every(isRecord);
    if (isSentences(value)) told[key === "sentences" ? "prepend" : "append"](sentences(value));
    else if (records && value.some((each) => "status" in each)) tables.append(recordTable(value, key));
    else if (records || (isRecord(value) && Object.keys(value).length)) rest.append(later(key, value));
    else {
      const content = make("dd");
      content.append(isRecord(value) ? make("span", "none", "quiet") : shown(value, key));
      pairs.append(make("dt", words(key)), content);
    }
  }
  const box = make("div");
  box.append(...[told, tables, pairs, rest].filter((part) => part.children.length));
  return box;
}

// Drawn when it is first opened.
function later(name, value) {
  const details = make("details");
  details.append(make("summary", `${words(name)} (${Object.keys(value).length})`));
  details.addEventListener("toggle", () => details.children.length > 1 || details.append(shown(value, name)));
  return details;
}

// What a reader asks first stands open; the whole record is one press away.
const FIRST = ["model", "revision", "quantization", "dtype", "method", "engine", "objective", "unit", "baseline", "options", "seed", "features", "boundary", "forwards", "backwards", "seconds", "notes"];

function drawProvenance() {
  const table = make("table", "", "figures");
  table.append(lineOf("th", ["", ...data.methods.map((method) => method.name)]));
  for (const key of FIRST) {
    const line = lineOf("td", data.methods.map(({ provenance }) => cell(provenance[key])));
    const head = make("th", words(key));
    head.scope = "row";
    line.prepend(head);
    table.append(line);
  }
  const everything = data.methods.map((method) => {
    const details = make("details");
    details.append(make("summary", `Everything about ${method.name}`));
    details.addEventListener("toggle", () => details.children.length > 1 || details.append(facts(method.provenance)));
    return details;
  });
  $("provenance").replaceChildren(scrolled(table, "Provenance"), ...everything);
}
