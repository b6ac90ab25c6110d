// The list: pages of rows, those that a search finds or all.

const PAGE = 25;
const state = { page: 0, found: null, turn: 0, chosen: -1 };

const promptOf = (row) => row.pieces.slice(0, row.prefix < 0 ? undefined : row.prefix).join("");
const spansOf = (row) => row.spans.map((span) => span.text[1]);
const sourcesOf = (row) => row.spans.flatMap((span) => strongest(span, 1).map((i) => row.pieces[i]));
const parts = {
  prompt: (row) => [promptOf(row)],
  target: (row) => [row.target],
  span: spansOf,
  source: sourcesOf,
  extra: (row) => Object.values(row.extra),
};
parts.all = (row) => [`${row.row}`, promptOf(row), row.target, ...parts.extra(row)];

// What a search looks through: a part of each row, or one of the input's own columns, whose choices are "column:0", ...
function partOf(row) {
  const asked = $("where").value;
  if (!asked.startsWith("column:")) return parts[asked](row);
  return [row.extra[data.columns[Number(asked.slice(7))]] ?? ""];
}

const countShown = () => (state.found ? state.found.length : total);

// Looks through the blocks in short turns; a newer search ends an older one.
async function search() {
  const turn = ++state.turn;
  const wanted = $("query").value.toLowerCase();
  state.page = 0;
  if (!wanted.trim()) {
    state.found = null;
    return drawFound();
  }
  const found = [];
  let place = 0;
  let began = performance.now();
  for (const block of blocks) {
    for (const row of rowsOf(block)) {
      if (partOf(row).some((text) => text.toLowerCase().includes(wanted))) found.push(place);
      place += 1;
    }
    if (performance.now() - began > 30) {
      $("found").textContent = `${found.length} found in ${place} of ${total} results …`;
      await new Promise((resolve) => setTimeout(resolve));
      if (turn !== state.turn) return;
      began = performance.now();
    }
  }
  state.found = found;
  drawFound();
}

// The list of a search, and of its rows the one that was shown, else the first.
function drawFound() {
  if (!countShown()) clear("No row was found.");
  else if (placeInList(state.chosen) < 0) choose(state.found ? state.found[0] : 0);
  drawList();
}

const placeInList = (place) => (state.found ? state.found.indexOf(place) : place);

function drawList() {
  const count = countShown();
  const pages = Math.max(Math.ceil(count / PAGE), 1);
  const first = state.page * PAGE;
  const lines = [];
  for (let i = first; i < Math.min(first + PAGE, count); i++) lines.push(lineOf(state.found ? state.found[i] : i));
  $("list").tBodies[0].replaceChildren(...lines);
  $("page").textContent = `page ${state.page + 1} of ${pages}`;
  $("back").disabled = state.page === 0;
  $("next").disabled = state.page === pages - 1;
  const all = total < data.results ? `the first ${total.toLocaleString("en")} of ${data.results.toLocaleString("en")} results` : `${total.toLocaleString("en")} results`;
  $("found").textContent = state.found ? `${count.toLocaleString("en")} found in ${all}` : all;
}

const HEADS = ["row", "prompt", "span", "strongest source", ...data.columns.slice(0, 2)];

function lineOf(place) {
  const row = rowAt(place);
  const link = make("a", String(row.row));
  link.href = `#row=${row.row}`;
  const prompt = make("span", "", "cut");
  prompt.append(isolated(promptOf(row).slice(0, 400)));
  const extra = data.columns.slice(0, 2).map((name) => isolated((row.extra[name] ?? "").slice(0, 60)));
  const found = line([link, prompt, isolated(spansOf(row).join(" · ").slice(0, 120)), isolated(sourcesOf(row).join(" · ").slice(0, 80)), ...extra]);
  found.dataset.place = place;
  found.setAttribute("aria-current", String(place === state.chosen));
  found.setAttribute("role", "row"); // narrow screens lay it out as a block, which would take the role away
  [...found.cells].forEach((cell, i) => {
    cell.setAttribute("role", "cell");
    cell.dataset.head = HEADS[i];
    if (i > 3) cell.className = "extra";
  });
  return found;
}

function drawHeads() {
  HEADS.forEach((name, i) => {
    const head = make("th", "", i > 3 ? "extra" : "");
    head.append(i > 3 ? isolated(name) : name);
    head.scope = "col";
    $("heads").append(head);
  });
  data.columns.forEach((name, i) => {
    const choice = make("option", visible(name));
    choice.value = `column:${i}`;
    $("where").append(choice);
  });
}

// Nothing is chosen; says why.
function clear(reason) {
  state.chosen = -1;
  for (const each of $("list").tBodies[0].rows) each.setAttribute("aria-current", "false");
  $("one").replaceChildren(make("p", reason));
}

function choose(place) {
  state.chosen = place;
  for (const each of $("list").tBodies[0].rows) each.setAttribute("aria-current", String(Number(each.dataset.place) === place));
  drawRow(rowAt(place));
}

// Below this width the row chosen stands under the list; above it, its line in the list may be out of sight.
const narrow = matchMedia("(max-width: 900px)");
const chosenLine = () => $("list").querySelector('tr[aria-current="true"]');

function showOne() {
  if (narrow.matches) $("one").scrollIntoView({ block: "start" });
  else chosenLine()?.scrollIntoView({ block: "nearest" });
}

function backToList() {
  (chosenLine() ?? $("list")).scrollIntoView({ block: "center" });
}

// The row that the address names, wherever it is: the list goes to its page, and shows all where a search left it out.
function chooseByAddress() {
  const asked = /^#row=(\d+)$/.exec(location.hash);
  if (!asked) return false;
  const place = placeOf(Number(asked[1]));
  if (place < 0) clear(whyMissing(Number(asked[1])));
  else {
    if (placeInList(place) < 0) {
      state.turn += 1;
      state.found = null;
      $("query").value = "";
    }
    state.page = Math.floor(placeInList(place) / PAGE);
    choose(place);
    drawList();
  }
  showOne();
  return true;
}

function placeOf(number) {
  let place = 0;
  for (const block of blocks) {
    const within = rowsOf(block).findIndex((row) => row.row === number);
    if (within >= 0) return place + within;
    place += block.count;
  }
  return -1;
}

function whyMissing(number) {
  const failure = data.failures.find((each) => each.row === number);
  if (failure) return `Row ${number} has no result (${failure.error}): ${visible(failure.reason)}`;
  if (data.rows !== null && number >= data.rows) return `There is no row ${number}: the input has the rows 0 to ${data.rows - 1}.`;
  const why = [];
  if (total < data.results) why.push(`the page holds the first ${total.toLocaleString("en")} of ${data.results.toLocaleString("en")} results`);
  if (data.failures.length < data.failed) why.push(`the first ${data.failures.length} of ${data.failed} failures`);
  if (!data.done) why.push("the run is not finished");
  return `Row ${number} is not on this page${why.length ? `: ${why.join(", ")}` : ""}.`;
}
