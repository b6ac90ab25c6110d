// The aggregates, the failures, and what the buttons do.

function drawAggregates() {
  const box = $("aggregates-view");
  const about = make("section", "", "card");
  const facts = table(["", ""]);
  for (const [name, value] of data.facts) facts.tBodies[0].append(line([name, isolated(value)]));
  about.append(make("h2", "the run"), facts, make("p", data.read, "quiet"));
  box.append(about);
  if (data.by_column.length) box.append(byColumn());
  for (const each of data.tables) {
    const card = make("section", "", "card");
    card.append(make("h2", each.title), ...aggregate(each, 4));
    box.append(card);
  }
}

// The table of one column of the input, and a select for the others.
function byColumn() {
  const card = make("section", "", "card");
  const choice = make("select");
  choice.id = "column";
  data.by_column.forEach((each, i) => {
    const option = make("option", visible(each.heads[0]));
    option.value = i;
    choice.append(option);
  });
  const head = make("h2");
  const name = make("label", "by ");
  name.append(choice);
  head.append(name);
  const held = make("div");
  const draw = () => held.replaceChildren(...aggregate(data.by_column[Number(choice.value)], 3));
  choice.addEventListener("change", draw);
  draw();
  card.append(head, held, make("p", data.read_column, "quiet"));
  return card;
}

const FIRST = 12;

// A figure whose error or interval is not torn apart where the line ends.
const whole = (text) => text.replace("± ", "±\u00a0").replace(/(\[\S+,) /, "$1\u00a0");

// A table with a bar for its column `drawn`; what is below its first lines is shown when asked for.
function aggregate({ heads, total: count, lines, note }, drawn) {
  const found = table([...heads, ""]);
  const most = Math.max(...lines.map((cells) => parseFloat(cells[drawn]) || 0), 1e-9);
  const numeric = heads.map((_, i) => i).slice(1);
  const rows = lines.map((cells) => {
    const bar = make("span", "", "bar");
    bar.style.width = `${Math.round((72 * (parseFloat(cells[drawn]) || 0)) / most)}px`;
    const row = line([isolated(cells[0]), ...cells.slice(1).map(whole), bar], numeric);
    row.lastElementChild.className = "barred";
    return row;
  });
  found.tBodies[0].append(...rows.slice(0, FIRST));
  found.tHead.rows[0].lastElementChild.className = "barred";
  const shown = [wide(found)];
  if (rows.length > FIRST) {
    const more = make("button", `Show all ${rows.length}`, "more");
    more.type = "button";
    more.addEventListener("click", () => {
      found.tBodies[0].append(...rows.slice(FIRST));
      more.remove();
    });
    shown.push(more);
  }
  if (lines.length < count) shown.push(make("p", `the first ${lines.length} of ${count}`, "quiet"));
  if (note) shown.push(make("p", note, "quiet"));
  return shown;
}

function drawFailures() {
  const box = $("failures-view");
  if (!data.failed) return box.append(make("p", "Every row has a result."));
  const shown = data.failures.length < data.failed ? `the first ${data.failures.length} of ${data.failed} rows without a result` : `${data.failed} rows without a result`;
  const found = table(["row", "error", "reason", "content"]);
  for (const each of data.failures) found.tBodies[0].append(line([String(each.row), each.error, isolated(each.reason), isolated(each.content)]));
  box.append(make("p", shown), wide(found));
}

const VIEWS = ["rows", "aggregates", "failures"];
function show(name) {
  for (const each of VIEWS) {
    $(`${each}-view`).hidden = each !== name;
    $(`show-${each}`).setAttribute("aria-pressed", String(each === name));
  }
}

$("title").textContent = visible(data.title);
$("extent").textContent = `${data.extent[0].toUpperCase()}${data.extent.slice(1)}.`;
$("extent").classList.toggle("open", !data.done);
$("footer").textContent = data.made_by;
$("show-failures").textContent = `Failures (${data.failed})`;
for (const each of VIEWS) $(`show-${each}`).addEventListener("click", () => show(each));
$("search").addEventListener("submit", (event) => { event.preventDefault(); search(); });
$("query").addEventListener("input", search);
$("where").addEventListener("change", search);
$("back").addEventListener("click", () => { state.page -= 1; drawList(); });
$("next").addEventListener("click", () => { state.page += 1; drawList(); });
$("list").tBodies[0].addEventListener("click", (event) => {
  const row = event.target.closest("tr");
  if (!row) return;
  const wanted = `#row=${rowAt(Number(row.dataset.place)).row}`;
  if (location.hash === wanted) chooseByAddress(); // the address does not change, so that nothing else tells of it
  else if (!event.target.closest("a")) location.hash = wanted;
});

// Dark or light as the reader has it; paper is light.
const dark = matchMedia("(prefers-color-scheme: dark)");
const paper = matchMedia("print");
function drawTheme() {
  const name = dark.matches && !paper.matches ? "dark" : "light";
  document.documentElement.dataset.theme = name;
  palette = palettes[name];
  if (state.chosen >= 0) drawRow(rowAt(state.chosen));
}
for (const query of [dark, paper]) query.addEventListener("change", drawTheme);
drawTheme();
addEventListener("hashchange", chooseByAddress);
drawHeads();
drawList();
drawAggregates();
drawFailures();
if (!chooseByAddress() && total) choose(0);
document.documentElement.dataset.ready = "true";
