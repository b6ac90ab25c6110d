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

const countShown = () => (state.found ? state.found.length : total);

// Looks through the blocks in short turns; a newer search ends an older one.
async function search() {
  const turn = ++state.turn;
  const wanted = $("query").value.toLowerCase();
  state.page = 0;
  if (!wanted.trim()) {
    state.found = null;
    return drawList();
  }
  const found = [];
  let place = 0;
  let began = performance.now();
  for (const block of blocks) {
    for (const row of rowsOf(block)) {
      if (parts[$("where").value](row).some((text) => text.toLowerCase().includes(wanted))) found.push(place);
      place += 1;
    }
    if (performance.now() - began > 30) {
      $("found").textContent = `${found.length} found in ${place} of ${total} rows …`;
      await new Promise((resolve) => setTimeout(resolve));
      if (turn !== state.turn) return;
      began = performance.now();
    }
  }
  state.found = found;
  drawList();
}

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
  const all = total < data.results ? `the first ${total.toLocaleString("en")} of ${data.results.toLocaleString("en")} rows` : `${total.toLocaleString("en")} rows`;
  $("found").textContent = state.found ? `${count.toLocaleString("en")} found in ${all}` : all;
}

function lineOf(place) {
  const row = rowAt(place);
  const link = make("a", String(row.row));
  link.href = `#row=${row.row}`;
  const prompt = make("span", "", "cut");
  prompt.append(isolated(promptOf(row).slice(0, 400)));
  const found = line([link, prompt, isolated(spansOf(row).join(" · ").slice(0, 120)), isolated(sourcesOf(row).join(" · ").slice(0, 80))]);
  found.dataset.place = place;
  found.setAttribute("aria-current", String(place === state.chosen));
  return found;
}

function choose(place) {
  state.chosen = place;
  for (const each of $("list").tBodies[0].rows) each.setAttribute("aria-current", String(Number(each.dataset.place) === place));
  drawRow(rowAt(place));
}

// The row that the address names, wherever it is.
function chooseByAddress() {
  const asked = /^#row=(\d+)$/.exec(location.hash);
  if (!asked) return false;
  let place = 0;
  for (const block of blocks) {
    const within = rowsOf(block).findIndex((row) => row.row === Number(asked[1]));
    if (within >= 0) {
      choose(place + within);
      return true;
    }
    place += block.count;
  }
  $("one").replaceChildren(make("p", `Row ${asked[1]} is not on this page.`));
  return true;
}
