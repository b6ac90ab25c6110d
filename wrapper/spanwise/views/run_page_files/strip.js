// One row: for each span the target with the span marked, the source on the colors of its scores, and the strongest.

function drawRow(row) {
  const box = $("one");
  const back = make("button", "Back to the list", "back");
  back.type = "button";
  back.addEventListener("click", backToList);
  box.replaceChildren(back, make("h2", `Row ${row.row}`));
  const limit = Math.max(...row.spans.map(limitOf));
  for (const span of row.spans) {
    const [before, asked, after] = span.text.map(visible);
    const target = make("div", "", "running target");
    target.dir = "auto";
    target.append(make("span", before), make("mark", asked), make("span", after));
    const told = make("div", "source, colored by its score for the marked part of the target", "quiet");
    box.append(make("div", "target", "quiet"), target, told, sourceOf(row, span, limit), topOf(row, span));
  }
  box.append(scaleOf(limit));
  const facts = table(["", ""]);
  if (row.gap !== null) facts.tBodies[0].append(line(["completeness gap", `${(100 * row.gap).toFixed(2)} %`]));
  for (const [name, value] of Object.entries(row.extra)) facts.tBodies[0].append(line([isolated(name), isolated(value)]));
  if (facts.tBodies[0].rows.length) box.append(facts);
}

function sourceOf(row, span, limit) {
  const running = make("div", "", "running source");
  running.dir = "auto";
  row.pieces.forEach((text, i) => {
    if (i === row.prefix) running.append(make("b", " ‖ "));
    const score = span.scores[i];
    const piece = make("span", visible(text).replaceAll("⏎", "⏎\n"));
    if (score === false) piece.className = "between";
    else if (score === null) piece.className = "none";
    else {
      const color = colorOf(score, limit, data.signed);
      piece.style.backgroundColor = cssOf(color);
      piece.style.color = inkOn(color);
      piece.title = figure(score);
    }
    running.append(piece);
  });
  return running;
}

function topOf(row, span) {
  const found = table(["score", "source"]);
  found.className = "top";
  for (const i of strongest(span, 5)) found.tBodies[0].append(line([figure(span.scores[i]), isolated(row.pieces[i])], [0]));
  return found;
}

function scaleOf(limit) {
  const box = make("div", "", "scale");
  const gradient = make("div", "", "gradient");
  const stops = barStops(limit, data.signed).map(([part, color]) => `${color} ${100 * part}%`);
  gradient.style.backgroundImage = `linear-gradient(to right, ${stops.join(", ")})`;
  const ticks = make("div", "", "ticks");
  const most = Number(limit.toPrecision(3));
  for (const end of data.signed ? [`−${most}`, "0", `+${most}`] : ["0", String(most)]) ticks.append(make("span", end));
  box.append(gradient, ticks, make("div", `${data.unit}; hatched: no score, frozen or not defined`, "quiet"));
  return box;
}
