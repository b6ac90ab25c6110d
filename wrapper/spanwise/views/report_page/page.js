// The page: draws what is chosen, and starts.

const panels = { source: sourcePanel($("source"), "source-title"), target: targetPanel($("target"), "target-title") };
let scaleNow = { limit: 0, signed: true };
let anchor = 0; // the target item where a drag or a selection by keys began
let dragging = false;
let back = state.pick; // the target pick to go back to from a source pick

// ---- drawing

function drawAll() {
  cleanChoices();
  drawPick();
  matrixChanged();
  drawAgreement();
}

// What hangs on the pick alone: cheap enough to follow the pointer.
function drawPick() {
  const pick = state.preview ?? state.pick;
  const forward = pick.kind === "target";
  const values = forward ? unitValues(state.method, pick.first, pick.last) : rowValues(state.method, pick.unit);
  const inMatrix = state.view === "matrix";
  scaleNow = { limit: limitOf(inMatrix ? shownMatrix(state.method) : values), signed: signedNow(state.method) };
  if (!inMatrix) drawText(pick, values);
  drawScale(scaleNow.limit, scaleNow.signed);
  tell(pick);
  drawTop(pick);
}

function drawText(pick, values) {
  const forward = pick.kind === "target";
  const { limit, signed } = scaleNow;
  paint(panels.source, forward ? values : null, limit, signed);
  paint(panels.target, forward ? null : values, limit, signed);
  markSource(panels.source, state.method);
  markTarget(panels.target, pick);
  if (state.other < 0) return;
  const others = forward ? unitValues(state.other, pick.first, pick.last) : null;
  paint(panels.other, others, others && limitOf(others), signedNow(state.other));
  markSource(panels.other, state.other);
}

function cleanChoices() {
  const method = data.methods[state.method];
  $("source-title").textContent = state.other < 0 ? "Source" : `Source by ${method.name}`;
  $("other-card").hidden = state.other < 0;
  if (state.other >= 0) {
    panels.other ??= otherPanel();
    $("other-title").textContent = `Source by ${data.methods[state.other].name}, its own full color`;
  }
  $("about").textContent = aboutText();
  $("text-view").hidden = state.view !== "text";
  $("matrix-view").hidden = state.view !== "matrix";
  $("text-view").classList.toggle("two", state.other >= 0);
  $("text-view").classList.toggle("joined", state.level > 0);
  const count = sinksOf(state.method).filter(Boolean).length;
  $("sinks").disabled = !count;
  $("sinks-choice").lastChild.textContent = ` sink tokens (${count})`;
  drawSwatches();
}

// Made when a second method is first asked for.
function otherPanel() {
  const panel = sourcePanel($("other-source"), "other-title");
  listenToSource(panel, () => state.other);
  return panel;
}

function choose(pick) {
  state.preview = null;
  if (pick.kind === "target") back = pick;
  state.pick = pick;
  drawPick();
  askToDraw();
  drawAgreement();
  markChips();
  clearTimeout(choose.saying);
  choose.saying = setTimeout(() => announce(pick), 400);
}

function markChips() {
  const rows = `${state.pick.first} ${state.pick.last}`;
  for (const chip of $("chips").children) chip.setAttribute("aria-pressed", String(chip.dataset.rows === rows));
}

function announce(pick) {
  const { texts, values, order } = strongest(pick);
  const top = order.slice(0, 3).map((i) => `${label(texts[i])} ${signedFigure(values[0][i], limitOf(values[0]))}`);
  $("said").textContent = `${pickedText(pick)}: strongest ${top.join(", ") || "none"}`;
}

// ---- theme and paper

const dark = matchMedia("(prefers-color-scheme: dark)");
const paper = matchMedia("print");
let theme = null; // "dark" or "light" once somebody chose

function drawTheme() {
  const name = paper.matches ? "light" : theme ?? (dark.matches ? "dark" : "light");
  document.documentElement.dataset.theme = name;
  palette = palettes[name];
  $("theme").textContent = name === "dark" ? "Light" : "Dark";
  for (const panel of Object.values(panels)) for (const item of panel.items) item.value = undefined;
  drawAll();
  if (paper.matches && state.view === "matrix") drawMatrix(); // no frame comes before the paper
}

function start() {
  $("title").textContent = visible(data.title);
  $("footer").textContent = `Made by ${data.made_by}. This file asks the network for nothing.`;
  $("hint").textContent = byToken
    ? "Point at a token, or drag over several: the source takes the color of their scores. Keys: arrows, with Shift for several. Press a source token for the other direction; Escape goes back."
    : "Each row is a span that was asked for: point at one. Press a source token for the other direction; Escape goes back.";
  buildControls();
  listenToTarget();
  listenToSource(panels.source, () => state.method);
  listenToMatrix();
  listenToCopies();
  $("theme").addEventListener("click", () => {
    theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    drawTheme();
  });
  for (const query of [dark, paper]) query.addEventListener("change", drawTheme);
  window.addEventListener("resize", matrixChanged);
  window.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && state.pick.kind === "source") choose(back);
    if (event.key === "Escape") leave();
  });
  const span = data.spans[0];
  if (span && byToken) state.pick = { kind: "target", first: span.first, last: span.last };
  else if (!byToken) state.pick = { kind: "target", first: 0, last: Math.min(1, rowCount) };
  back = state.pick;
  drawTheme();
  markChips();
  drawChecks();
  drawProvenance();
}

function aboutText() {
  const made = data.methods[state.method].provenance;
  const sizes = `${plural(columnCount, `source ${data.base === "token" ? "token" : "feature"}`)}, ${plural(data.target_tokens.length, "target token")}`;
  return `${made.model} (${made.quantization ?? made.dtype}) · ${data.methods[state.method].name} (${made.engine}) · ${made.objective} (${made.unit}) · ${sizes}`;
}

start();
