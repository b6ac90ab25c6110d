// The matrix on a canvas: only the cells in view are drawn. An image of one pixel a cell is made once for each choice
// of what is shown; drawing stretches the part of it in view, over hatching that shows where no score is defined.

const CELLS = { most: 40, labeled: 11, fit: 36 }; // pixels
const mostHeight = () => (paper.matches ? 6000 : Math.min(0.7 * innerHeight, 640)); // paper has no scroll bar
const EDGE = 7; // pixels that the outermost labels reach over the cells' border
const view = { cell: 0, columns: [], image: null, hatch: null, head: 0, side: 0, cursor: null, asked: false };

function matrixChanged() {
  if (state.view !== "matrix") return;
  const aside = asideOf(state.method);
  const { members } = levels[state.level];
  view.columns = members.flatMap((columns, unit) => (columns.every((column) => aside[column]) ? [] : [unit]));
  view.values = shownMatrix(state.method);
  view.limit = limitOf(view.values);
  view.image = picture();
  view.hatch = hatching();
  const narrow = $("matrix").clientWidth < 560;
  view.side = narrow ? 84 : 132;
  view.head = narrow ? 84 : 104;
  if (!view.cell || paper.matches) fitCells();
  resized();
}

const valueAt = (row, at) => view.values[row * levels[state.level].text.length + view.columns[at]];
const rowHeight = () => Math.max(view.cell, Math.min(14, (mostHeight() - view.head) / rowCount));

function picture() {
  const canvas = new OffscreenCanvas(Math.max(view.columns.length, 1), Math.max(rowCount, 1));
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  const signed = signedNow(state.method);
  for (let row = 0; row < rowCount; row++) {
    for (let at = 0; at < view.columns.length; at++) {
      const value = valueAt(row, at);
      if (!Number.isNaN(value)) image.data.set([...colorOf(value, view.limit, signed), 255], 4 * (row * canvas.width + at));
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

function hatching() {
  const tile = new OffscreenCanvas(6, 6);
  const context = tile.getContext("2d");
  context.fillStyle = palette.hatch[0];
  context.fillRect(0, 0, 6, 6);
  context.strokeStyle = palette.hatch[1];
  for (const shift of [-6, 0, 6]) {
    context.moveTo(shift, 6);
    context.lineTo(shift + 6, 0);
  }
  context.stroke();
  return context.createPattern(tile, "repeat");
}

function fitCells() {
  const room = $("matrix").clientWidth - view.side - 2;
  view.cell = Math.min(Math.max(room / Math.max(view.columns.length, 1), 0.25), CELLS.fit);
}

// Zooms by a factor and keeps the cell at the given place of the view where it is.
function zoom(factor, x = $("matrix").clientWidth / 2, y = $("matrix").clientHeight / 2) {
  const box = $("matrix");
  const at = (box.scrollLeft + x - view.side) / view.cell;
  const down = (box.scrollTop + y - view.head) / rowHeight();
  view.cell = Math.min(Math.max(view.cell * factor, 0.25), CELLS.most);
  resized();
  box.scrollLeft = at * view.cell + view.side - x;
  box.scrollTop = down * rowHeight() + view.head - y;
}

function resized() {
  $("extent").style.width = `${view.side + view.columns.length * view.cell}px`;
  const height = view.head + rowCount * rowHeight();
  $("extent").style.height = `${height}px`;
  $("matrix").style.height = `${Math.min(height + 18, mostHeight())}px`; // 18: room for a scroll bar
  askToDraw();
}

function askToDraw() {
  if (view.asked || state.view !== "matrix") return;
  view.asked = true;
  requestAnimationFrame(() => {
    view.asked = false;
    drawMatrix();
  });
}

function drawMatrix() {
  const box = $("matrix"), canvas = $("cells"), context = canvas.getContext("2d");
  const [width, height] = [box.clientWidth, paper.matches ? view.head + rowCount * rowHeight() : box.clientHeight];
  const scale = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    Object.assign(canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  const part = inView(width, height);
  drawCells(context, part);
  context.font = "12px system-ui, 'Noto Sans', sans-serif";
  context.textBaseline = "middle";
  drawRows(context, part, height);
  drawColumns(context, part, width);
}

// Which rows and columns are in view, half-open, and where the first of them is drawn.
function inView(width, height) {
  const box = $("matrix"), tall = rowHeight();
  const column = Math.max(Math.floor(box.scrollLeft / view.cell), 0);
  const row = Math.max(Math.floor(box.scrollTop / tall), 0);
  return {
    column, row, tall,
    lastColumn: Math.min(Math.ceil((box.scrollLeft + width - view.side) / view.cell), view.columns.length),
    lastRow: Math.min(Math.ceil((box.scrollTop + height - view.head) / tall), rowCount),
    left: view.side + column * view.cell - box.scrollLeft,
    top: view.head + row * tall - box.scrollTop,
  };
}

function drawCells(context, { column, row, lastColumn, lastRow, left, top, tall }) {
  const [columns, rows] = [lastColumn - column, lastRow - row];
  if (columns <= 0 || rows <= 0) return;
  context.save();
  context.beginPath();
  context.rect(view.side, view.head, context.canvas.width, context.canvas.height);
  context.clip();
  context.fillStyle = view.hatch;
  context.fillRect(left, top, columns * view.cell, rows * tall);
  context.imageSmoothingEnabled = view.cell < 1;
  context.drawImage(view.image, column, row, columns, rows, left, top, columns * view.cell, rows * tall);
  if (view.cell >= CELLS.labeled) grid(context, left, top, columns, rows, tall);
  if (view.cursor) outline(context, view.cursor, { left, top, column, row, tall });
  context.restore();
}

function grid(context, left, top, columns, rows, tall) {
  context.strokeStyle = palette.line;
  context.lineWidth = 0.5;
  context.beginPath();
  for (let i = 0; i <= columns; i++) context.rect(left + i * view.cell, top, 0, rows * tall);
  for (let i = 0; i <= rows; i++) context.rect(left, top + i * tall, columns * view.cell, 0);
  context.stroke();
}

function outline(context, cursor, { left, top, column, row, tall }) {
  context.strokeStyle = palette.ink;
  context.lineWidth = 2;
  const [x, y] = [left + (cursor.at - column) * view.cell, top + (cursor.row - row) * tall];
  context.strokeRect(x, y, Math.max(view.cell, 3), Math.max(tall, 3));
}

function drawRows(context, { row, lastRow, top, tall }, height) {
  context.clearRect(0, view.head - EDGE, view.side - 1, height);
  const every = Math.max(Math.ceil(CELLS.labeled / tall), 1);
  context.save();
  context.beginPath();
  context.rect(0, view.head - EDGE, view.side, height);
  context.clip();
  for (let at = row; at < lastRow; at++) {
    const y = top + (at - row) * tall;
    if (picked("row", at)) {
      context.fillStyle = getComputedStyle(document.body).getPropertyValue("--mark");
      context.fillRect(0, y, view.side - 3, tall);
    }
    if (at % every) continue;
    context.fillStyle = picked("row", at) ? getComputedStyle(document.body).getPropertyValue("--on-mark") : palette.ink;
    context.textAlign = "right";
    context.fillText(label(data.rows.labels[at], view.side > 100 ? 17 : 10), view.side - 8, y + tall / 2, view.side - 12);
  }
  context.restore();
}

function drawColumns(context, { column, lastColumn, left }, width) {
  context.clearRect(0, 0, width, view.head - EDGE);
  const every = Math.max(Math.ceil(CELLS.labeled / view.cell), 1);
  const first = Math.ceil(column / every) * every;
  context.save();
  context.beginPath();
  context.rect(view.side - EDGE, 0, width, view.head);
  context.clip();
  context.textAlign = "left";
  for (let at = first; at < lastColumn; at += every) {
    context.save();
    context.translate(left + (at - column + 0.5) * view.cell, view.head - EDGE - 1);
    context.rotate(-Math.PI / 2);
    context.fillStyle = palette.ink;
    context.font = `${picked("column", at) ? "700 " : ""}12px system-ui, 'Noto Sans', sans-serif`;
    context.fillText(label(levels[state.level].text[view.columns[at]], 16), 0, 0, view.head - 10);
    context.restore();
  }
  context.restore();
}

function picked(axis, at) {
  const pick = state.pick;
  if (axis === "column") return pick.kind === "source" && pick.unit === view.columns[at];
  const whole = pick.first === 0 && pick.last === rowCount;
  return pick.kind === "target" && !whole && at >= pick.first && at < pick.last;
}

// The cell under the pointer, or null; row or at is -1 over the labels of columns or rows.
function cellAt(event) {
  const box = $("matrix"), edge = box.getBoundingClientRect();
  const [x, y] = [event.clientX - edge.left - box.clientLeft, event.clientY - edge.top - box.clientTop];
  const at = x < view.side ? -1 : Math.floor((box.scrollLeft + x - view.side) / view.cell);
  const row = y < view.head ? -1 : Math.floor((box.scrollTop + y - view.head) / rowHeight());
  return at >= view.columns.length || row >= rowCount || (at < 0 && row < 0) ? null : { row, at };
}

// Moves the cursor by keys and keeps it in view.
function moveCursor(right, down) {
  const box = $("matrix"), tall = rowHeight(), now = view.cursor ?? { row: 0, at: 0 };
  const within = (value, count) => Math.min(Math.max(value, 0), count - 1);
  const moves = view.cursor ? [right, down] : [0, 0];
  view.cursor = { at: within(now.at + moves[0], view.columns.length), row: within(now.row + moves[1], rowCount) };
  const [x, y] = [view.cursor.at * view.cell, view.cursor.row * tall];
  box.scrollLeft = Math.min(Math.max(box.scrollLeft, x + view.cell - (box.clientWidth - view.side)), x);
  box.scrollTop = Math.min(Math.max(box.scrollTop, y + tall - (box.clientHeight - view.head)), y);
  askToDraw();
}
