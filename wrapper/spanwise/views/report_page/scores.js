// The arithmetic: scores of units of the source for what is picked, sinks, shares, rank correlation.
//
// A unit is a column, or the columns of a word, sentence or message put together: their scores are added, and NaN where
// none is defined. The same is done over the rows of a picked part of the target.

const SINK_SHARE = 0.2; // of a row's absolute scores
const SINK_ROWS = 3; // fewer rows cannot tell a sink from a cause

const cached = new Map();

function remember(key, compute) {
  if (!cached.has(key)) cached.set(key, compute());
  return cached.get(key);
}

// Which columns take at least a fifth of the absolute scores in more than half of the rows.
function sinksOf(method) {
  return remember(`sinks ${method}`, () => {
    const counts = new Uint32Array(columnCount);
    let rows = 0;
    for (let row = 0; row < rowCount; row++) {
      const scores = rowOf(method, row);
      const total = sizeOf(scores);
      if (!total) continue;
      rows++;
      scores.forEach((score, column) => (counts[column] += Math.abs(score) >= SINK_SHARE * total ? 1 : 0));
    }
    return Array.from(counts, (count) => rows >= SINK_ROWS && count > rows / 2);
  });
}

const rowOf = (method, row) => data.methods[method].scores.subarray(row * columnCount, (row + 1) * columnCount);

function sizeOf(values) {
  let total = 0;
  for (const value of values) if (!Number.isNaN(value)) total += Math.abs(value);
  return total;
}

// Columns that are set aside now: they have no color, no line in the table and no part in a share.
function asideOf(method) {
  const sinks = state.sinks ? null : sinksOf(method);
  return data.columns.template.map((template, column) => (template && !state.template) || Boolean(sinks?.[column]));
}

// [row unit], summed over columns.
function matrixOf(method) {
  const key = `matrix ${method} ${state.level} ${state.template} ${state.sinks}`;
  return remember(key, () => {
    const { group, text } = levels[state.level];
    const aside = asideOf(method);
    const matrix = new Float64Array(rowCount * text.length).fill(NaN);
    for (let row = 0; row < rowCount; row++) {
      const scores = rowOf(method, row);
      for (let column = 0; column < columnCount; column++) {
        const at = row * text.length + group[column];
        if (!aside[column]) matrix[at] = plus(matrix[at], scores[column]);
      }
    }
    return matrix;
  });
}

const plus = (sum, value) => (Number.isNaN(value) ? sum : Number.isNaN(sum) ? value : sum + value);

// One value a unit for rows [first, last): summed, then made absolute or a share as chosen.
function unitValues(method, first, last) {
  const matrix = matrixOf(method);
  const count = levels[state.level].text.length;
  const sums = new Float64Array(count).fill(NaN);
  for (let row = first; row < last; row++) {
    for (let unit = 0; unit < count; unit++) sums[unit] = plus(sums[unit], matrix[row * count + unit]);
  }
  return finished(sums);
}

function finished(values) {
  const total = state.normalized ? sizeOf(values) : 1;
  return values.map((value) => (state.absolute ? Math.abs(value) : value) / (total || 1));
}

// The other direction: one value a row for a unit of the source; a share is one of the row's scores.
function rowValues(method, unit) {
  return Float64Array.from({ length: rowCount }, (_, row) => unitValues(method, row, row + 1)[unit]);
}

// [row unit] as shown.
function shownMatrix(method) {
  const key = `shown ${method} ${state.level} ${state.template} ${state.sinks} ${state.absolute} ${state.normalized}`;
  return remember(key, () => {
    const count = levels[state.level].text.length;
    const shown = new Float32Array(rowCount * count);
    for (let row = 0; row < rowCount; row++) shown.set(unitValues(method, row, row + 1), row * count);
    return shown;
  });
}

function limitOf(values) {
  let limit = 0;
  for (const value of values) if (Math.abs(value) > limit) limit = Math.abs(value);
  return limit;
}

// Whether the shown values have a sign.
const signedNow = (method) => data.methods[method].signed && !state.absolute;

// Spearman's rank correlation over the places that both define; equal values share a rank. NaN without an order.
function spearman(one, other) {
  const places = [...one.keys()].filter((i) => !Number.isNaN(one[i]) && !Number.isNaN(other[i]));
  if (places.length < 2) return NaN;
  return pearson(ranks(places.map((i) => one[i])), ranks(places.map((i) => other[i])));
}

function ranks(values) {
  const order = values.map((_, i) => i).sort((a, b) => values[a] - values[b]);
  const found = new Array(values.length);
  for (let first = 0, last; first < order.length; first = last) {
    last = first + 1;
    while (last < order.length && values[order[last]] === values[order[first]]) last++;
    for (let i = first; i < last; i++) found[order[i]] = (first + last - 1) / 2;
  }
  return found;
}

function pearson(one, other) {
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [middle, otherMiddle] = [mean(one), mean(other)];
  let both = 0, square = 0, otherSquare = 0;
  one.forEach((value, i) => {
    both += (value - middle) * (other[i] - otherMiddle);
    square += (value - middle) ** 2;
    otherSquare += (other[i] - otherMiddle) ** 2;
  });
  return square && otherSquare ? both / Math.sqrt(square * otherSquare) : NaN;
}

// Agreement of two methods on rows [first, last); by size only where one of them has no sign.
function agreement(one, other, first, last) {
  const values = [one, other].map((method) => unitValues(method, first, last));
  const bySize = !data.methods[one].signed || !data.methods[other].signed;
  return spearman(...values.map((each) => (bySize ? each.map(Math.abs) : each)));
}
