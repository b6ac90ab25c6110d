// What is shown as CSV, SVG or PNG: to the clipboard, or as a file where the browser refuses that.

const MOST_CELLS = 20000; // of a matrix as SVG: more would be too slow for the programs that open it

function csv() {
  const quote = (value) => (/[",\r\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  const known = (value) => (Number.isNaN(value) ? "" : String(Math.fround(value)));
  const level = levels[state.level];
  const role = (unit) => data.columns.role[level.members[unit][0]];
  const lines = [];
  if (state.view === "matrix") {
    lines.push(["row", "row_text", "source_index", "source_text", "role", "score"]);
    const values = shownMatrix(state.method);
    data.rows.labels.forEach((text, row) => {
      level.text.forEach((source, unit) => {
        lines.push([row, text, unit, source, role(unit), known(values[row * level.text.length + unit])]);
      });
    });
  } else {
    const pick = state.pick;
    const { texts, methods, values } = strongest(pick);
    const forward = pick.kind === "target";
    lines.push([forward ? "source_index" : "row", forward ? "source_text" : "row_text", ...(forward ? ["role"] : []), ...methods.map((method) => data.methods[method].name)]);
    texts.forEach((text, i) => lines.push([i, text, ...(forward ? [role(i)] : []), ...values.map((each) => known(each[i]))]));
  }
  return lines.map((line) => line.map(quote).join(",")).join("\r\n") + "\r\n";
}

const escaped = (text) => visible(text, false).replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);

// The running text, the color bar and what they are, as drawn on the page.
function textSvg() {
  const shapes = [];
  let top = 34;
  for (const [title, panel] of [["Source", panels.source], ["Target", panels.target]]) {
    shapes.push(small(title, 0, top));
    const box = panel.list.getBoundingClientRect();
    const origin = { x: box.left, y: box.top - panel.list.scrollTop - top - 10 };
    const blocks = panel === panels.source ? [...panel.list.children] : [panel.list];
    for (const block of blocks) if (!block.hidden) shapes.push(...blockSvg(block, origin));
    top += panel.list.scrollHeight + 46;
  }
  return svg($("text-view").clientWidth, top + 40, [small(aboutText(), 0, 14, 600), ...shapes, ...barSvg(top)]);
}

const small = (text, x, y, weight = 400) => `<text x="${x}" y="${y}" font-size="12" font-weight="${weight}">${escaped(text)}</text>`;

// A block's role, then line by line the colors and the text over them: letters join over the borders of tokens.
function blockSvg(block, origin) {
  const edge = block.getBoundingClientRect();
  const found = block.dataset.role ? [small(block.dataset.role, edge.left - origin.x + 12, edge.top - origin.y + 13)] : [];
  const lines = [];
  let rightward = null; // the direction of a paragraph is that of its first letter
  for (const element of block.querySelectorAll(".token, .between")) {
    for (const part of partsOf(element, origin)) {
      found.push(...part.shapes);
      rightward ??= part.text.match(/\p{L}/u) ? !rightToLeft.test(part.text) : null;
      if (lines.length && Math.abs(lines.at(-1).y - part.y) < 4 && !lines.at(-1).ended) lines.at(-1).parts.push(part);
      else lines.push({ y: part.y, parts: [part], ended: false });
      lines.at(-1).rightward = rightward ?? true;
      if (part.ends) [lines.at(-1).ended, rightward] = [true, null];
    }
  }
  return [...found, ...lines.map(lineSvg)];
}

const rightToLeft = /^[^\p{L}]*[\p{Script=Arabic}\p{Script=Hebrew}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}]/u;

// Where letters join or carry marks, a line is one text that the whole width is given to; else each part has its place.
const joining = /[\p{M}\u200d\p{Script=Arabic}\p{Script=Syriac}\p{Script=Nko}]/u;

function lineSvg({ parts, rightward }) {
  const { y, height, size } = parts[0];
  const whole = parts.some((part) => joining.test(part.text));
  const left = Math.min(...parts.map((part) => part.x));
  const right = Math.max(...parts.map((part) => part.x + part.width));
  const start = rightward ? `x="${left.toFixed(1)}"` : `x="${right.toFixed(1)}" direction="rtl"`;
  const place = whole ? `${start} textLength="${(right - left).toFixed(1)}" lengthAdjust="spacingAndGlyphs"` : "";
  const at = (part) => (whole ? "" : ` x="${part.x.toFixed(1)}"`);
  const spans = parts.map((part) => `<tspan${at(part)} fill="${part.ink}">${escaped(part.text)}</tspan>`);
  return `<text ${place} y="${(y + 0.78 * height).toFixed(1)}" font-size="${size}" xml:space="preserve">${spans.join("")}</text>`;
}

// What an element shows on each line it stands on: its text, where, and the rectangles behind it.
function partsOf(element, { x: left, y: top }) {
  if (element.hidden || !element.firstChild) return [];
  const style = getComputedStyle(element), range = document.createRange(), node = element.firstChild;
  return linesOf(node, range).map(([first, last]) => {
    range.setStart(node, first);
    range.setEnd(node, last);
    const { width, height, ...edge } = range.getBoundingClientRect().toJSON();
    const [x, y] = [edge.left - left, edge.top - top];
    const rect = (fill, at = y, tall = height) => `<rect x="${x.toFixed(1)}" y="${at.toFixed(1)}" width="${width.toFixed(1)}" height="${tall.toFixed(1)}" fill="${fill}"/>`;
    const shapes = [];
    if (element.classList.contains("none")) shapes.push(rect("url(#hatch)"));
    else if (element.style.backgroundColor) shapes.push(rect(style.backgroundColor));
    const chosen = element.getAttribute("aria-selected") === "true";
    if (chosen) shapes.push(rect(palette.ink, y + height, 2));
    const text = node.data.slice(first, last);
    const ink = chosen ? palette.ink : style.color;
    return { x, y, width, height, shapes, ink, size: style.fontSize.replace("px", ""), text: text.replaceAll("\n", ""), ends: text.endsWith("\n") };
  });
}

// The parts of a text node that stand on one line each.
function linesOf(node, range) {
  const found = [];
  let top = null;
  for (let i = 0; i < node.length; i++) {
    range.setStart(node, i);
    range.setEnd(node, i + 1);
    const edge = range.getClientRects()[0];
    if (!edge || node.data[i] === "\n") {
      if (found.length) found.at(-1)[1] = i + 1;
      continue;
    }
    if (top === null || Math.abs(edge.top - top) > 4) found.push([i, i + 1]);
    else found.at(-1)[1] = i + 1;
    top = edge.top;
  }
  return found;
}

function matrixSvg() {
  const [cell, side, head] = [14, 150, 120];
  const texts = levels[state.level].text;
  const signed = signedNow(state.method);
  const shapes = [small(aboutText(), 0, 14, 600)];
  view.columns.forEach((unit, at) => {
    shapes.push(`<text transform="translate(${side + (at + 0.7) * cell} ${head + 18}) rotate(-90)" font-size="10">${escaped(label(texts[unit], 16))}</text>`);
  });
  data.rows.labels.forEach((text, row) => {
    const y = head + 24 + row * cell;
    shapes.push(`<text x="${side - 6}" y="${y + 10}" font-size="10" text-anchor="end">${escaped(label(text, 20))}</text>`);
    view.columns.forEach((_, at) => {
      const value = valueAt(row, at);
      const fill = Number.isNaN(value) ? "url(#hatch)" : cssOf(colorOf(value, view.limit, signed));
      shapes.push(`<rect x="${side + at * cell}" y="${y}" width="${cell}" height="${cell}" fill="${fill}"/>`);
    });
  });
  const bottom = head + 24 + rowCount * cell + 20;
  return svg(Math.max(side + view.columns.length * cell, 760), bottom + 44, [...shapes, ...barSvg(bottom)]);
}

function barSvg(top) {
  const { limit, signed } = scaleNow;
  const stops = barStops(limit, signed).map(([part, color]) => `<stop offset="${part}" stop-color="${color}"/>`);
  const ends = signed ? [-limit, 0, limit] : [0, limit];
  const anchors = signed ? ["start", "middle", "end"] : ["start", "end"];
  return [
    `<defs><linearGradient id="bar">${stops.join("")}</linearGradient></defs>`,
    `<rect x="0" y="${top}" width="200" height="10" fill="url(#bar)" stroke="${palette.line}"/>`,
    ...ends.map((end, i) => `<text x="${(200 * i) / (ends.length - 1)}" y="${top + 24}" font-size="11" text-anchor="${anchors[i]}">${escaped(end ? signedFigure(end, limit) : "0")}</text>`),
    small(statement(data.methods[state.method]), 216, top + 9),
  ];
}

function svg(width, height, shapes) {
  const [back, line] = palette.hatch;
  const background = cssOf(palette.positive[0]);
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${Math.ceil(width) + 24}" height="${Math.ceil(height) + 12}" viewBox="-12 -4 ${Math.ceil(width) + 24} ${Math.ceil(height) + 12}" font-family="system-ui, 'Noto Sans', sans-serif" fill="${palette.ink}">`
    + `<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse"><rect width="6" height="6" fill="${back}"/><path d="M0 6L6 0" stroke="${line}"/></pattern></defs>`
    + `<rect x="-12" y="-4" width="100%" height="100%" fill="${background}"/>${shapes.join("")}</svg>`;
}

function currentSvg() {
  if (state.view !== "matrix") return textSvg();
  const cells = rowCount * view.columns.length;
  return cells > MOST_CELLS ? null : matrixSvg();
}

async function png() {
  if (state.view === "matrix") return new Promise((resolve) => $("cells").toBlob(resolve, "image/png"));
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(textSvg())}`;
  await image.decode();
  const canvas = new OffscreenCanvas(2 * image.width, 2 * image.height);
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: "image/png" });
}

const say = (text) => ($("copied").textContent = text);

async function copyText(text, name, type) {
  try {
    await navigator.clipboard.writeText(text);
    say(`${name} copied.`);
  } catch {
    save(new Blob([text], { type }), name);
  }
}

async function copyPicture(blob) {
  try {
    await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
    say("PNG copied.");
  } catch {
    save(blob, "PNG");
  }
}

// A file, where the clipboard is not to be had.
function save(blob, name) {
  const link = make("a");
  link.href = URL.createObjectURL(blob);
  link.download = `attribution.${name.toLowerCase()}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  say(`${name} saved as ${link.download}.`);
}

function listenToCopies() {
  $("csv").addEventListener("click", () => copyText(csv(), "CSV", "text/csv"));
  $("svg").addEventListener("click", () => {
    const drawn = currentSvg();
    if (drawn) copyText(drawn, "SVG", "image/svg+xml");
    else say(`More than ${MOST_CELLS.toLocaleString("en")} cells: take PNG, or a coarser level.`);
  });
  $("png").addEventListener("click", async () => copyPicture(await png()));
}
