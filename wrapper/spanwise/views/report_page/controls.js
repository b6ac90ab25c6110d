// The controls above the text, and the buttons of the spans that were asked for.

function radios(id, choices, chosen, change) {
  for (const [value, text] of choices) {
    const wrap = make("label");
    const input = make("input");
    Object.assign(input, { type: "radio", name: id, value, checked: value === String(chosen) });
    input.addEventListener("change", () => change(value));
    wrap.append(input, make("span", text));
    $(id).append(wrap);
  }
  $(id).hidden = choices.length < 2;
}

function buildControls() {
  data.methods.forEach((method, i) => {
    $("method").append(new Option(method.name, i));
    $("other").append(new Option(method.name, i));
  });
  $("other").prepend(new Option("no other", -1, true, true));
  $("method-choice").hidden = $("other-choice").hidden = data.methods.length < 2;
  $("method").addEventListener("change", (event) => set({ method: Number(event.target.value) }));
  $("other").addEventListener("change", (event) => set({ other: Number(event.target.value) }));
  radios("view", [["text", "text"], ["matrix", "matrix"]], "text", (value) => set({ view: value }));
  radios("level", levels.map((level, i) => [String(i), level.plural]), 0, (value) => toLevel(Number(value)));
  radios("sign", [["signed", "signed"], ["absolute", "absolute"]], "signed", (value) => set({ absolute: value === "absolute" }));
  radios("scale", [["raw", "raw"], ["normalized", "normalized"]], "raw", (value) => set({ normalized: value === "normalized" }));
  $("sign").hidden = data.methods.every((method) => !method.signed);
  $("template-choice").hidden = !data.columns.template.some(Boolean);
  $("sinks-choice").hidden = !data.methods.some((_, method) => sinksOf(method).some(Boolean));
  $("boxes").hidden = $("template-choice").hidden && $("sinks-choice").hidden;
  for (const name of ["template", "sinks"]) $(name).addEventListener("change", () => set({ [name]: $(name).checked }));
  buildChips();
}

function set(change) {
  if ("level" in change || "template" in change || "sinks" in change) view.cursor = null;
  Object.assign(state, change);
  drawAll();
}

// A source pick moves on to the unit that holds its first column.
function toLevel(level) {
  const pick = state.pick;
  if (pick.kind === "source") {
    const column = levels[state.level].members[pick.unit][0];
    state.pick = { kind: "source", unit: levels[level].group[column] };
  }
  view.cell = 0;
  set({ level });
}

function buildChips() {
  const whole = byToken ? [["whole target", 0, rowCount]] : [];
  const asked = data.spans.map((span, i) => [quoted(span.text, 40), ...(byToken ? [span.first, span.last] : [i, i + 1]), span.note]);
  for (const [text, first, last, note] of [...whole, ...asked]) {
    const chip = make("button");
    chip.type = "button";
    chip.append(isolated(text));
    chip.dataset.rows = `${first} ${last}`;
    if (note) chip.title = visible(note);
    chip.addEventListener("click", () => choose({ kind: "target", first, last }));
    $("chips").append(chip);
  }
}
