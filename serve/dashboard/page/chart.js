// Charts, drawn by uPlot. They take their colours from the style sheet and
// their width from the page.

import uPlot from "./uplot/uPlot.esm.js";

const HEIGHT = 168;
const charts = new Set();

function colours() {
  const style = getComputedStyle(document.documentElement);
  return (name) => style.getPropertyValue(`--${name}`).trim();
}

// Canvas does not follow the style sheet by itself.
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const chart of charts) chart.build();
});

class Chart {
  constructor(node, options) {
    this.node = node;
    this.options = options;
    this.data = options.empty;
    this.build();
    charts.add(this);
    new ResizeObserver(() => this.fit()).observe(node);
  }

  build() {
    this.plot?.destroy();
    this.plot = new uPlot({ width: this.width(), height: HEIGHT, ...this.options.make(colours()) }, this.data, this.node);
  }

  width() {
    return Math.max(120, Math.floor(this.node.clientWidth));
  }

  fit() {
    if (this.plot.width !== this.width()) this.plot.setSize({ width: this.width(), height: HEIGHT });
  }

  show(data) {
    this.data = data;
    this.plot.setData(data);
  }
}

const font = "11px system-ui, sans-serif";

function axis(colour, more) {
  return {
    stroke: colour("muted"), font, ticks: { show: false }, gap: 4,
    grid: { stroke: colour("line"), width: 1 }, ...more,
  };
}

// A scale that begins at 0 and does not jump about while little happens.
const fromZero = (least) => ({ range: (_, __, max) => [0, Math.max(least, (max ?? 0) * 1.15)] });

const legend = { show: false };

/**
 * lines is a chart of series over the last `seconds`, which move in from the
 * right. show takes [Unix times, values, values...]; null is a gap.
 */
export function lines(node, { names, seconds, least, label }) {
  return new Chart(node, {
    empty: [[], ...names.map(() => [])],
    make: (colour) => ({
      legend,
      padding: [8, 24, 0, 0],
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
      scales: {
        x: { time: true, range: (_, __, max) => [(max ?? Date.now() / 1000) - seconds, max ?? Date.now() / 1000] },
        y: fromZero(least),
      },
      series: [{}, ...names.map((name) => ({
        stroke: colour(name), width: 2, points: { show: false },
        fill: names.length === 1 ? colour(`${name}-soft`) : undefined,
      }))],
      axes: [
        axis(colour, {
          size: 24, gap: 6, grid: { show: false }, space: 70,
          values: (_, ticks) => ticks.map((t) => new Date(t * 1000).toLocaleTimeString(undefined, { hour12: false })),
        }),
        axis(colour, { size: 52, space: 36, values: (_, ticks) => ticks.map(label) }),
      ],
    }),
  });
}

/**
 * bars is a chart of one value each, with a name under some of them. show
 * takes [[0, 1, ...], values], naming is asked for the name of a place. steps
 * are the distances that the lines across may have, any if they are left out.
 */
export function bars(node, { name, least, label, naming, steps }) {
  return new Chart(node, {
    empty: [[], []],
    make: (colour) => ({
      legend,
      padding: [8, 8, 0, 0],
      cursor: { show: false },
      scales: {
        x: { time: false, range: (_, min, max) => [(min ?? 0) - 0.7, Math.max(max ?? 0, 15) + 0.7] },
        y: fromZero(least),
      },
      series: [{}, {
        stroke: colour(name), fill: colour(name), width: 0, points: { show: false },
        paths: uPlot.paths.bars({ size: [0.7, 28], radius: 0.2 }),
      }],
      axes: [
        axis(colour, { size: 24, gap: 6, grid: { show: false }, space: 60, incrs: [1, 2, 5, 10, 20, 50], values: (_, ticks) => ticks.map(naming) }),
        axis(colour, { size: 62, space: 36, incrs: steps, values: (_, ticks) => ticks.map(label) }),
      ],
    }),
  });
}
