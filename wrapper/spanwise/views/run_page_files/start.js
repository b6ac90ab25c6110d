// The aggregates, the failures, and what the buttons do.

function drawAggregates() {
  const box = $("aggregates-view");
  const about = make("section", "", "card");
  const facts = table(["", ""]);
  for (const [name, value] of data.facts) facts.tBodies[0].append(line([name, isolated(value)]));
  about.append(make("h2", "the run"), facts);
  box.append(about, ...data.tables.map(aggregate));
}

function aggregate({ title, total: count, lines }) {
  const card = make("section", "", "card");
  const found = table(["category", "columns", "results", "mean score", "share", "strongest", "share"]);
  const most = Math.max(...lines.map((cells) => parseFloat(cells[4])), 1e-9);
  for (const cells of lines) {
    const bar = make("span", "", "bar");
    bar.style.width = `${Math.round(90 * parseFloat(cells[4]) / most)}px`;
    found.tBodies[0].append(line([isolated(cells[0]), ...cells.slice(1), bar], [1, 2, 3, 4, 5]));
  }
  const tall = make("div", "", "tall");
  tall.append(found);
  tall.tabIndex = 0;
  card.append(make("h2", title), tall);
  if (lines.length < count) card.append(make("p", `the first ${lines.length} of ${count}`, "quiet"));
  return card;
}

function drawFailures() {
  const box = $("failures-view");
  if (!data.failed) return box.append(make("p", "Every row has a result."));
  const shown = data.failures.length < data.failed ? `the first ${data.failures.length} of ${data.failed} rows without a result` : `${data.failed} rows without a result`;
  const found = table(["row", "error", "reason", "content"]);
  for (const each of data.failures) found.tBodies[0].append(line([String(each.row), each.error, isolated(each.reason), isolated(each.content)]));
  box.append(make("p", shown), found);
}

const VIEWS = ["rows", "aggregates", "failures"];
function show(name) {
  for (const each of VIEWS) {
    $(`${each}-view`).hidden = each !== name;
    $(`show-${each}`).setAttribute("aria-pressed", String(each === name));
  }
}

$("title").textContent = visible(data.title);
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
  if (row && !event.target.closest("a")) location.hash = `row=${rowAt(Number(row.dataset.place)).row}`;
});
addEventListener("hashchange", chooseByAddress);
drawList();
drawAggregates();
drawFailures();
if (!chooseByAddress() && total) choose(0);
document.documentElement.dataset.ready = "true";
