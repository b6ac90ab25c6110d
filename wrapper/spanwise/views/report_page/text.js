// Source and target as running text: lists of tokens that take the color of their score.
//
// A panel is {list, items}; an item is a stretch of text, {element, places}, where places are columns in the source and
// rows in the target. Tokens that share characters (the bytes of one emoji) share an item.

function addPiece(panel, parent, [text, places], kind) {
  const shown = visible(text, !parent.hasChildNodes()).replaceAll("⏎", "⏎\n");
  if (!places.length) return parent.append(make("span", shown, "between"));
  const element = make("span", shown, "token");
  element.setAttribute("role", "option");
  element.setAttribute("aria-selected", "false");
  if (!shown.replace(/[\p{Z}\p{M}\u200c\u200d\n]/gu, "")) element.setAttribute("aria-label", text.trim() ? visible(text, true) : "space");
  element.tabIndex = panel.items.length ? -1 : 0;
  element.dataset.item = panel.items.length;
  panel.items.push({ element, places, kind });
  parent.append(element);
}

function makePanel(list, title, multiple) {
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-labelledby", title);
  list.setAttribute("aria-multiselectable", String(multiple));
  return { list, items: [] };
}

// The source: one block a message, each headed by its role, then the generated prefix where it has scores.
function sourcePanel(list, title) {
  const panel = makePanel(list, title, false);
  for (const block of blocks(data.prompt)) {
    const group = addBlock(list, block.role);
    for (const piece of block.pieces) addPiece(panel, group, piece, "source");
  }
  if (data.prefix.length) {
    const group = addBlock(list, "target so far");
    for (const piece of data.prefix) addPiece(panel, group, piece, "source");
  }
  return panel;
}

function addBlock(list, role) {
  const group = make("div", "", "block");
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", role || "prompt");
  if (role) group.dataset.role = role;
  list.append(group);
  return group;
}

// A chat cut before the template tokens that open a message.
function blocks(pieces) {
  const { message, template, role } = data.columns;
  const found = [{ pieces: [], role: "", message: null }];
  const chat = message.some((each) => each !== null);
  for (const piece of pieces) {
    let block = found.at(-1);
    const column = piece[1][0];
    if (chat && column !== undefined) {
      const opens = template[column] ? block.message !== null : block.message !== null && block.message !== message[column];
      if (opens) found.push((block = { pieces: [], role: "template", message: null }));
      if (!template[column]) Object.assign(block, { message: message[column], role: role[column] });
      else if (!block.role) block.role = "template";
    }
    block.pieces.push(piece);
  }
  return found.filter((block) => block.pieces.length);
}

function targetPanel(list, title) {
  const panel = makePanel(list, title, true);
  for (const piece of data.target) addPiece(panel, list, piece, "target");
  return panel;
}

const unitOf = (item) => levels[state.level].group[item.places[0]];

// The strongest of the values that an item stands for; NaN where none is defined.
function valueOf(item, values) {
  let found = NaN;
  const group = item.kind === "source" ? levels[state.level].group : null;
  for (const place of item.places) {
    const value = values[group ? group[place] : place];
    if (Number.isNaN(found) || Math.abs(value) > Math.abs(found)) found = value;
  }
  return found;
}

// Colors the items; `values` null: no colors.
function paint(panel, values, limit, signed) {
  for (const item of panel.items) {
    const value = values ? valueOf(item, values) : null;
    const color = value === null || Number.isNaN(value) ? null : colorOf(value, limit, signed);
    const background = color ? cssOf(color) : "";
    if (item.background === background && item.value === value) continue;
    item.value = value;
    item.background = background;
    item.element.style.backgroundColor = background;
    item.element.style.color = color ? inkOn(color) : "";
    item.element.classList.toggle("none", value !== null && color === null);
  }
}

// Marks what is picked, what is set aside, and hides template tokens where they are not shown.
function markSource(panel, method) {
  const { template } = data.columns;
  const sinks = state.sinks ? null : sinksOf(method);
  const picked = state.pick.kind === "source" ? state.pick.unit : -1;
  for (const item of panel.items) {
    item.element.hidden = !state.template && item.places.every((column) => template[column]);
    item.element.classList.toggle("aside", Boolean(sinks) && item.places.every((column) => sinks[column]));
    select(item, unitOf(item) === picked);
  }
  for (const block of panel.list.children) block.hidden = !block.querySelector(".token:not([hidden])");
}

function markTarget(panel, pick) {
  const inside = (row) => pick.kind === "target" && row >= pick.first && row < pick.last;
  const whole = pick.kind === "target" && byToken && pick.first === 0 && pick.last === rowCount;
  for (const item of panel.items) select(item, !whole && item.places.some(inside));
}

function select(item, selected) {
  if (item.selected === selected) return;
  item.selected = selected;
  item.element.setAttribute("aria-selected", String(selected));
}

const itemOf = (panel, node) => {
  const element = node instanceof Element ? node.closest(".token") : null;
  return element && panel.list.contains(element) ? panel.items[Number(element.dataset.item)] : null;
};

// The rows of a range of target items; one row where rows are spans.
function pickOf(panel, anchor, cursor) {
  const items = byToken ? panel.items.slice(Math.min(anchor, cursor), Math.max(anchor, cursor) + 1) : [panel.items[cursor]];
  const rows = items.flatMap((item) => item.places);
  const first = Math.min(...rows);
  return { kind: "target", first, last: byToken ? Math.max(...rows) + 1 : first + 1 };
}

// Where the keys lead from an item: to the next one that is shown and is of another unit.
function moved(panel, from, key) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[key];
  const last = panel.items.length - 1;
  if (key === "Home" || key === "End") return key === "Home" ? 0 : last;
  if (!step) return -1;
  const start = panel.items[from];
  for (let at = from + step; at >= 0 && at <= last; at += step) {
    const item = panel.items[at];
    if (!item.element.hidden && (item.kind === "target" || unitOf(item) !== unitOf(start))) return at;
  }
  return from;
}

function focusItem(panel, at) {
  panel.items.forEach((item, i) => { if (item.element.tabIndex === 0 && i !== at) item.element.tabIndex = -1; });
  panel.items[at].element.tabIndex = 0;
  panel.moving = true; // the focus follows a choice, it does not make one
  panel.items[at].element.focus();
  panel.moving = false;
}
