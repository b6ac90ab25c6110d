// What pointer and keys do in the target, the source and the matrix.

function listenToTarget() {
  const { list, items } = panels.target;
  const under = (event) => itemOf(panels.target, document.elementFromPoint(event.clientX, event.clientY));
  list.addEventListener("pointerdown", (event) => {
    const item = itemOf(panels.target, event.target);
    if (!item || event.button) return;
    if (event.pointerType === "mouse") event.preventDefault(); // no text selection; the focus is set below
    dragging = true;
    if (!event.shiftKey) anchor = items.indexOf(item);
    focusItem(panels.target, items.indexOf(item));
    choose(pickOf(panels.target, anchor, items.indexOf(item)));
  });
  list.addEventListener("pointermove", (event) => {
    const item = under(event);
    if (!item) return leave();
    tip(event, targetTip(item));
    const pick = pickOf(panels.target, dragging ? anchor : items.indexOf(item), items.indexOf(item));
    const now = dragging ? state.pick : state.preview;
    if (now && now.first === pick.first && now.last === pick.last) return;
    if (dragging) return choose(pick);
    if (state.pick.kind === "source") return;
    state.preview = pick;
    drawPick();
  });
  list.addEventListener("pointerleave", leave);
  for (const name of ["pointerup", "pointercancel"]) window.addEventListener(name, () => (dragging = false));
  list.addEventListener("keydown", (event) => {
    const from = itemOf(panels.target, event.target);
    if (!from) return;
    if (event.key === "Enter" || event.key === " ") return chooseFrom(event, items.indexOf(from));
    if (event.key === "a" && (event.ctrlKey || event.metaKey) && byToken) {
      event.preventDefault();
      return choose({ kind: "target", first: 0, last: rowCount });
    }
    const to = moved(panels.target, items.indexOf(from), event.key);
    if (to < 0) return;
    event.preventDefault();
    focusItem(panels.target, to);
    if (!event.shiftKey) anchor = to;
    choose(pickOf(panels.target, anchor, to));
  });
  list.addEventListener("focusin", (event) => {
    const item = itemOf(panels.target, event.target);
    if (!item || panels.target.moving || !event.target.matches(":focus-visible") || item.selected) return;
    anchor = items.indexOf(item);
    if (state.pick.kind === "target" && !state.preview) choose(pickOf(panels.target, anchor, anchor));
  });
}

function chooseFrom(event, at) {
  event.preventDefault();
  anchor = at;
  choose(pickOf(panels.target, at, at));
}

function leave() {
  $("tip").hidden = true;
  if (!state.preview) return;
  state.preview = null;
  drawPick();
}

function listenToSource(panel, method) {
  const turn = (item) => {
    const unit = unitOf(item);
    const again = state.pick.kind === "source" && state.pick.unit === unit;
    choose(again ? back : { kind: "source", unit });
  };
  panel.list.addEventListener("click", (event) => {
    const item = itemOf(panel, event.target);
    if (!item || String(getSelection())) return;
    focusItem(panel, panel.items.indexOf(item));
    turn(item);
  });
  panel.list.addEventListener("keydown", (event) => {
    const from = itemOf(panel, event.target);
    if (!from) return;
    const to = moved(panel, panel.items.indexOf(from), event.key);
    const press = event.key === "Enter" || event.key === " ";
    if (to < 0 && !press) return;
    event.preventDefault();
    if (press) return turn(from);
    focusItem(panel, to);
    tip(null, sourceTip(panel.items[to], method()), panel.items[to].element);
  });
  panel.list.addEventListener("pointermove", (event) => {
    const item = itemOf(panel, event.target);
    if (item) tip(event, sourceTip(item, method()));
    else leave();
  });
  panel.list.addEventListener("pointerleave", leave);
  panel.list.addEventListener("focusout", leave);
}

function listenToMatrix() {
  const box = $("matrix");
  box.addEventListener("scroll", askToDraw, { passive: true });
  box.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    const edge = box.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY / 300), event.clientX - edge.left, event.clientY - edge.top);
  }, { passive: false });
  box.addEventListener("pointermove", (event) => {
    const cell = cellAt(event);
    view.cursor = cell && cell.at >= 0 && cell.row >= 0 ? cell : null;
    if (cell) tip(event, cellTip(cell));
    else leave();
    askToDraw();
  });
  box.addEventListener("pointerleave", leave);
  box.addEventListener("click", (event) => chooseCell(cellAt(event)));
  box.addEventListener("keydown", (event) => {
    const move = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
    if (event.key === "+" || event.key === "=" || event.key === "-") zoom(event.key === "-" ? 1 / 1.4 : 1.4);
    else if (event.key === "Enter" && view.cursor) chooseCell(view.cursor);
    else if (!move) return;
    event.preventDefault();
    if (!move) return;
    moveCursor(...move);
    $("said").textContent = cellTip(view.cursor).map(([text]) => text).join(", ");
  });
  $("smaller").addEventListener("click", () => zoom(1 / 1.4));
  $("larger").addEventListener("click", () => zoom(1.4));
  $("fit").addEventListener("click", () => { fitCells(); resized(); });
}

function chooseCell(cell) {
  if (!cell) return;
  choose(cell.row < 0 ? { kind: "source", unit: view.columns[cell.at] } : { kind: "target", first: cell.row, last: cell.row + 1 });
}
