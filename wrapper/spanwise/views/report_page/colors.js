// Colors: blue below zero, red above it, purple where scores have no sign; zero is the color of the card.

const palettes = {
  light: {
    positive: [[255, 255, 255], [244, 165, 130], [214, 96, 77], [178, 24, 43]],
    negative: [[255, 255, 255], [146, 197, 222], [67, 147, 195], [33, 102, 172]],
    unsigned: [[255, 255, 255], [188, 176, 220], [138, 113, 186], [84, 39, 143]],
    hatch: ["#eceef1", "#b4bac4"], ink: "#1b1e24", quiet: "#59606c", line: "#d9dce2",
  },
  dark: {
    positive: [[28, 31, 38], [110, 45, 45], [190, 72, 62], [255, 138, 118]],
    negative: [[28, 31, 38], [30, 66, 106], [48, 112, 178], [116, 188, 250]],
    unsigned: [[28, 31, 38], [66, 52, 104], [116, 92, 178], [192, 168, 250]],
    hatch: ["#23272f", "#4b525f"], ink: "#eceef2", quiet: "#a9b0bd", line: "#3a404b",
  },
};
let palette = palettes.light;

// The color of a value between -limit and limit.
function colorOf(value, limit, signed) {
  const part = limit ? Math.min(Math.abs(value) / limit, 1) : 0;
  const stops = signed ? (value < 0 ? palette.negative : palette.positive) : palette.unsigned;
  const at = part * (stops.length - 1);
  const low = Math.min(Math.floor(at), stops.length - 2);
  return stops[low].map((from, i) => Math.round(from + (at - low) * (stops[low + 1][i] - from)));
}

const cssOf = (color) => `rgb(${color.join(" ")})`;

// Black or white, whichever has more contrast with the color (WCAG relative luminance): 4.5 to 1 or better on any.
function inkOn(color) {
  const [red, green, blue] = color.map((each) => {
    const part = each / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000" : "#fff";
}

// The stops of the color bar from its left end to its right.
function barStops(limit, signed) {
  const steps = 12;
  return Array.from({ length: steps + 1 }, (_, i) => {
    const part = i / steps;
    return [part, cssOf(colorOf((signed ? 2 * part - 1 : part) * (limit || 1), limit || 1, signed))];
  });
}
