// The tip beside the pointer: lines of [text, class].

function sourceTip(item, method) {
  const unit = unitOf(item), level = levels[state.level], column = item.places[0];
  const role = data.columns.role[column];
  const place = `${level.name} ${unit}${level.members[unit].length === 1 ? `, id ${data.columns.id[column]}` : ""}, ${role}`;
  const pick = state.pick.kind === "target" ? state.pick : null;
  const value = pick ? unitValues(method, pick.first, pick.last)[unit] : NaN;
  const aside = asideOf(method);
  const set = level.members[unit].every((each) => aside[each]);
  const score = pick ? [[set ? "set aside" : scoreText(value), "score"]] : [];
  return [[quoted(level.text[unit], 80), "name"], ...score, [place, "quiet"]];
}

function targetTip(item) {
  const rows = item.places, method = data.methods[state.method];
  const lines = [[quoted(data.rows.labels[rows[0]], 80), "name"]];
  if (state.pick.kind === "source") lines.push([scoreText(item.value ?? NaN), "score"]);
  const objective = byToken ? method.target_scores[rows[0]] : null;
  if (objective !== null && objective !== undefined) lines.push([`${method.objective} ${number(objective)}`, "quiet"]);
  lines.push([`${byToken ? "token" : "span"} ${rows.join(", ")}`, "quiet"]);
  return lines;
}

function cellTip({ row, at }) {
  const source = at >= 0 ? quoted(levels[state.level].text[view.columns[at]], 60) : "";
  const target = row >= 0 ? quoted(data.rows.labels[row], 60) : "";
  const score = row >= 0 && at >= 0 ? [[scoreText(valueAt(row, at)), "score"]] : [];
  return [[source && target ? `${source} → ${target}` : source || target, "name"], ...score];
}

const scoreText = (value) => (Number.isNaN(value) ? "no score" : `${signedFigure(value, scaleNow.limit)}${state.normalized ? "" : ` ${data.methods[state.method].unit}`}`);

function tip(event, lines, element = null) {
  const box = $("tip");
  box.replaceChildren(...lines.map(([text, name]) => {
    const line = make("p", text, name);
    line.dir = "auto";
    return line;
  }));
  box.hidden = false;
  const edge = element ? element.getBoundingClientRect() : { left: event.clientX, bottom: event.clientY + 12 };
  const left = Math.min(edge.left, innerWidth - box.offsetWidth - 12);
  const below = edge.bottom + box.offsetHeight + 8 < innerHeight;
  box.style.left = `${Math.max(left, 8)}px`;
  box.style.top = `${below ? edge.bottom + 6 : edge.bottom - box.offsetHeight - 34}px`;
}
