// What is in this page: the results, read once. And the few helpers that every part uses.

const data = JSON.parse(document.getElementById("data").textContent);
const columnCount = data.columns.text.length;
const rowCount = data.rows.labels.length;
const byToken = data.rows.kind === "token"; // else one row a span

for (const method of data.methods) {
  const bytes = Uint8Array.from(atob(method.scores), (character) => character.charCodeAt(0));
  method.scores = new Float32Array(bytes.buffer); // [row column]
}

const plurals = { token: "tokens", word: "words", sentence: "sentences", paragraph: "paragraphs", message: "messages" };
const levels = [
  { name: data.base, group: data.columns.text.map((_, i) => i), text: data.columns.text, notes: [] },
  ...data.levels,
];
for (const level of levels) {
  level.plural = plurals[level.name] ?? "features";
  level.members = level.text.map(() => []); // the columns of each unit
  level.group.forEach((unit, column) => level.members[unit].push(column));
}

// What is chosen. A pick is {kind: "target", first, last}, a half-open range of rows, or {kind: "source", unit}.
const state = {
  method: 0,
  other: -1,
  level: 0,
  view: "text",
  absolute: false,
  normalized: false,
  template: true,
  sinks: true,
  pick: { kind: "target", first: 0, last: rowCount },
  preview: null,
};

const $ = (id) => document.getElementById(id);

function make(name, text = "", className = "") {
  const element = document.createElement(name);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

// A name that may be broken after its underscores.
function breakable(name) {
  const element = make("span");
  name.split(/(?<=_)/).forEach((part) => element.append(part, make("wbr")));
  return element;
}

// Characters that would not be seen, or would steer the order of the others, are spelled out. Joiners stay where there
// is something to join; `alone` says that there is not.
const joiners = "\u200c\u200d\ufe0e\ufe0f";
const unseen = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;
const marks = { "\n": "⏎", "\t": "⇥" };

function visible(text, alone = [...text].every((character) => joiners.includes(character))) {
  return Array.from(text, (character) => {
    if (marks[character]) return marks[character];
    if (joiners.includes(character) ? !alone : !unseen.test(character)) return character;
    const code = character.codePointAt(0).toString(16);
    if (code.length <= 2) return "\\x" + code.padStart(2, "0");
    return code.length <= 4 ? "\\u" + code.padStart(4, "0") : "\\U" + code.padStart(8, "0");
  }).join("");
}

// A short name: outer spaces as dots, at most `width` characters.
function label(text, width = 28) {
  const inner = text.trim();
  const spaces = (part) => visible(part.replaceAll(" ", "·"));
  const start = text.indexOf(inner);
  const whole = inner ? spaces(text.slice(0, start)) + visible(inner) + spaces(text.slice(start + inner.length)) : spaces(text);
  const characters = [...whole];
  return characters.length <= width ? whole : characters.slice(0, width - 1).join("") + "…";
}

// A number as text. `limit` is the largest of those shown with it: it decides how many decimals they all get.
function figure(value, limit = value) {
  if (Number.isNaN(value)) return "none";
  const size = Math.abs(limit);
  const decimals = Math.min(Math.max(2 - Math.floor(Math.log10(size || 1)), 0), 9);
  let text = value.toFixed(decimals);
  if (state.normalized) text = `${(100 * value).toFixed(1)} %`;
  else if (value && (size < 1e-5 || size >= 1e6)) text = value.toExponential(2);
  if (/^-[0.]+( %)?$/.test(text)) text = text.slice(1); // no sign on what rounds to zero
  return text.replaceAll("-", "−");
}

function signedFigure(value, limit, method = state.method) {
  const text = figure(value, limit);
  return value > 0 && signedNow(method) && /[1-9]/.test(text) ? `+${text}` : text;
}
const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
