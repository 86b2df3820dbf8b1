"use strict";
// Draws the charts of a report from the numbers in #numbers. Texts go in as textContent only.
(() => {
  const DATA = JSON.parse(document.getElementById("numbers").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const COLOURS = 8;
  const MARKS = [
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0", "M-3.5-3.5h7v7h-7z", "M0-4.5L4.5 3.5h-9z", "M0-5L4.5 0L0 5L-4.5 0z",
    "M0 4.5L4.5-3.5h-9z", "M-1.5-4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z", "M-4-2.2L-2.2-4L0-1.8L2.2-4L4-2.2L1.8 0L4 2.2L2.2 4L0 1.8L-2.2 4L-4 2.2L-1.8 0z",
    "M-4.5 0L3.5-4.5v9z",
  ];

  // ---------------------------------------------------------------- small things

  function node(name, attributes = {}, ...children) {
    const svg = ["svg", "g", "path", "rect", "line", "text", "title"].includes(name);
    const made = svg ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value === true) made.setAttribute(key, "");
      else if (value !== false && value !== null) made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  }

  const known = (value) => value !== null && value !== undefined;
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const deviation = (values) => {
    const middle = mean(values);
    return Math.sqrt(values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (values.length - 1));
  };
  const fixed = (value, decimals = 1) => {
    if (!known(value)) return "–";
    const text = value.toFixed(decimals).replace("-", "−");
    return Number(value.toFixed(decimals)) === 0 ? text.replace("−", "") : text;
  };
  const range = ([low, high], decimals) => `${fixed(low, decimals)} to ${fixed(high, decimals)}`;
  const withUnit = (value, score) => `${fixed(value, score.decimals)}${score.unit ? ` ${score.unit}` : ""}`;
  const direction = (score) => (score.lower ? ", lower is better" : "");
  const shorten = (text, length) => (text.length <= length ? text : text.slice(0, Math.max(1, length - 1)).trimEnd() + "…");
  // Labels of methods differ at their end where settings follow.
  const elide = (text, length) => {
    const head = Math.max(1, Math.floor((length - 1) / 2));
    return text.length <= length ? text : text.slice(0, head).trimEnd() + "…" + text.slice(text.length - Math.max(1, length - 1 - head)).trimStart();
  };
  const ofSplit = ({ split }, first) => (first ? split[0].toUpperCase() + split.slice(1) : split);
  const colour = (number) => (known(number) ? `s${(number % COLOURS) + 1}` : "chance");
  const again = (number) => (number >= COLOURS || !known(number) ? " dotted" : ""); // the colours come round a second time
  const mark = (number) => MARKS[(number + Math.floor(number / COLOURS)) % MARKS.length];
  const within = (value, low, high) => Math.min(high, Math.max(low, value));

  function ticks(low, high, count) {
    const rough = (high - low || 1) / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10);
    const places = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9; i += 1) places.push(i * step);
    return places;
  }

  // Positions at least `gap` apart and in the order of `values`, as near to them as can be (pooling adjacent violators).
  function spread(values, gap, low, high) {
    const order = values.map((_, i) => i).sort((a, b) => values[a] - values[b]);
    const room = order.length > 1 ? Math.min(gap, (high - low) / (order.length - 1)) : gap;
    const blocks = [];
    order.forEach((index, rank) => {
      blocks.push([values[index] - rank * room, 1]);
      while (blocks.length > 1 && blocks.at(-2)[0] > blocks.at(-1)[0]) {
        const [value, count] = blocks.pop();
        const above = blocks.at(-1);
        above[0] = (above[0] * above[1] + value * count) / (above[1] + count);
        above[1] += count;
      }
    });
    const places = [];
    let rank = 0;
    for (const [value, count] of blocks) {
      for (let i = 0; i < count; i += 1, rank += 1) {
        places[order[rank]] = within(value, low, high - (order.length - 1) * room) + rank * room;
      }
    }
    return places;
  }

  function swatch(number) {
    return node("svg", { class: `swatch ${colour(number)}`, viewBox: "-6 -6 12 12", "aria-hidden": "true" },
      node("path", { class: "mark", d: mark(number) }));
  }

  // ---------------------------------------------------------------- a chart: heading, picture, tip, keys

  class Chart {
    constructor(host, heading, keys) {
      this.heading = node("h4", {}, heading);
      this.chosen = node("p", { class: "chosen" });
      this.svg = node("svg", { tabindex: "0", role: "group", "aria-roledescription": "chart", "aria-label": `${heading}. ${keys}` });
      this.legend = node("ul", { class: "legend" });
      this.tip = node("div", { class: "tip", role: "status", hidden: true });
      this.box = node("div", { class: "chart" }, this.heading, this.chosen, this.svg, this.legend, this.tip);
      host.append(this.box);
      this.at = null;
      this.svg.addEventListener("pointermove", (event) => this.point(event));
      this.svg.addEventListener("pointerdown", (event) => this.point(event));
      this.svg.addEventListener("pointerleave", () => this.show(null));
      this.svg.addEventListener("focus", () => {
        if (this.at === null && this.svg.matches(":focus-visible")) this.show(this.first());
      });
      this.svg.addEventListener("blur", () => this.show(null));
      this.svg.addEventListener("keydown", (event) => {
        if (event.key === "Escape") return this.show(null);
        const next = this.move(event.key, this.at ?? this.first());
        if (next === undefined) return undefined;
        event.preventDefault();
        return this.show(next);
      });
      let width = 0;
      new ResizeObserver(() => {
        if (this.box.clientWidth && this.box.clientWidth !== width) {
          width = this.box.clientWidth;
          this.draw();
        }
      }).observe(this.box);
    }

    point(event) {
      const box = this.svg.getBoundingClientRect();
      const scale = this.width / box.width;
      this.show(this.nearest((event.clientX - box.left) * scale, (event.clientY - box.top) * scale));
    }

    start(height) {
      this.width = Math.max(240, this.box.clientWidth);
      this.height = height;
      this.svg.replaceChildren();
      this.svg.setAttribute("viewBox", `0 0 ${this.width} ${height}`);
      this.legend.replaceChildren();
      this.show(null);
    }

    put(name, attributes, ...children) {
      const made = node(name, attributes, ...children);
      this.svg.append(made);
      return made;
    }

    empty(text) {
      this.start(60);
      this.put("text", { x: 0, y: 30, class: "ink" }, text);
    }

    show(at) {
      this.at = at;
      this.cursor?.remove();
      this.cursor = null;
      this.tip.hidden = at === null;
      if (at === null) return;
      const { title, rows, x, y, cursor } = this.describe(at);
      this.cursor = cursor;
      this.svg.append(cursor);
      const lines = rows.map(({ series, label, value, active }) => {
        const name = node("td", {}, ...(known(series) ? [swatch(series), " "] : []), label);
        return node("tr", { class: active ? "active" : null }, name, node("td", {}, value));
      });
      this.tip.replaceChildren(node("strong", {}, title), node("table", {}, node("tbody", {}, ...lines)));
      const scale = this.svg.clientWidth / this.width || 1;
      const top = this.svg.getBoundingClientRect().top - this.box.getBoundingClientRect().top;
      const room = this.box.clientWidth;
      const left = x * scale + 14 + this.tip.offsetWidth <= room ? x * scale + 14 : x * scale - 14 - this.tip.offsetWidth;
      this.tip.style.left = `${within(left, 0, Math.max(0, room - this.tip.offsetWidth))}px`;
      this.tip.style.top = `${top + Math.max(0, y * scale - 20)}px`;
    }
  }

  // Lines over tasks. `state()` gives {score, steps, lines: [{label, series, values, faint, flat, band}], chosen}.
  class Lines extends Chart {
    constructor(host, heading, state) {
      super(host, heading, "Left and right arrows move along the tasks, up and down between the lines.");
      this.state = state;
    }

    draw() {
      const { score, steps, lines, chosen } = this.state();
      this.score = score;
      this.lines = lines.filter((line) => line.values.some(known));
      this.steps = steps;
      this.chosen.textContent = chosen;
      if (!this.lines.length) return this.empty("Nothing is chosen that was measured.");
      const all = this.lines.flatMap((line) => [...line.values, ...line.faint.flat(), ...(line.band ?? []).flat()]).filter(known);
      let [low, high] = [Math.min(...all), Math.max(...all)];
      if (score.percent) {
        [low, high] = [Math.max(0, 10 * Math.floor((low - 3) / 10)), Math.min(100, 10 * Math.ceil((high + 3) / 10))];
      } else {
        const room = 0.08 * (high - low) || 0.05 * Math.abs(high) || 0.5;
        [low, high] = [low - room, high + room];
      }
      const wide = this.box.clientWidth >= 560;
      const labelled = wide && this.lines.length <= 16;
      this.start(Math.max(wide ? 330 : 270, labelled ? 70 + 16 * this.lines.length : 0));
      const [left, top, bottom] = [34, 14, this.height - 46];
      const right = this.width - (labelled ? 170 : 14);
      const [S, inner] = [steps.length, 12];
      this.x = (i) => (S === 1 ? (left + right) / 2 : left + inner + ((right - left - 2 * inner) * i) / (S - 1));
      this.y = (value) => bottom - ((bottom - top) * (value - low)) / (high - low || 1);
      for (const place of ticks(low, high, 5)) {
        this.put("line", { class: "grid", x1: left, x2: right, y1: this.y(place), y2: this.y(place) });
        this.put("text", { x: left - 6, y: this.y(place) + 4, "text-anchor": "end" }, String(Number(place.toFixed(6))));
      }
      const space = (right - left) / S;
      const named = space >= 64;
      const every = named ? 1 : Math.ceil(24 / space);
      steps.forEach((step, i) => {
        if (i % every) return;
        const text = named ? shorten(step, Math.floor(space / 6.6)) : String(i + 1);
        this.put("text", { x: this.x(i), y: bottom + 18, "text-anchor": "middle", class: "ink" }, text);
      });
      this.put("text", { x: (left + right) / 2, y: this.height - 8, "text-anchor": "middle" }, named ? "after learning" : "after learning task");
      const faint = this.lines.reduce((sum, line) => sum + line.faint.length, 0) > 20 ? "line faint fainter" : "line faint";
      for (const line of this.lines) {
        for (const values of line.faint) this.path(values, `${faint} ${colour(line.series)}`);
      }
      for (const line of this.lines) if (line.band) this.area(line);
      for (const line of this.lines) this.path(line.values, `line ${colour(line.series)}${line.flat ? " dashed" : again(line.series)}`);
      for (const line of this.lines) {
        line.values.forEach((value, i) => {
          if (!known(value) || line.flat || !known(line.series) || S > 40) return;
          const place = `translate(${this.x(i)} ${this.y(value)})`;
          this.put("path", { class: `mark ${colour(line.series)}`, d: mark(line.series), transform: place });
        });
      }
      if (!labelled) {
        this.legend.append(...this.lines.map((line) => node("li", {}, ...(known(line.series) ? [swatch(line.series)] : ["┈ "]), line.label)));
        return undefined;
      }
      const ends = this.lines.map((line) => line.values.findLastIndex(known));
      const places = spread(this.lines.map((line, k) => this.y(line.values[ends[k]])), 15, top, bottom);
      this.lines.forEach((line, k) => {
        const [x, y] = [this.x(ends[k]), this.y(line.values[ends[k]])];
        const path = `M${x + 6} ${y}L${Math.max(x + 7, right - 4)} ${y}L${right + 10} ${places[k]}`;
        this.put("path", { class: `leader ${colour(line.series)}`, d: path });
        const text = this.put("text", { x: right + 14, y: places[k] + 4, class: "ink" }, elide(line.label, 23));
        text.append(node("title", {}, line.label));
      });
      return undefined;
    }

    path(values, kind) {
      let d = "";
      let pen = "M";
      values.forEach((value, i) => {
        if (known(value)) d += `${pen}${this.x(i).toFixed(1)} ${this.y(value).toFixed(1)}`;
        pen = known(value) ? "L" : "M";
      });
      if (d) this.put("path", { class: kind, d });
    }

    // Where runs are all alike there is no interval, and the band is as thin as the line.
    area({ values, band, series }) {
      const edge = (end) => values.flatMap((value, i) => (known(value) ? [`${this.x(i).toFixed(1)} ${this.y(band[i]?.[end] ?? value).toFixed(1)}`] : []));
      this.put("path", { class: `area ${colour(series)}`, d: `M${[...edge(0), ...edge(1).reverse()].join("L")}z` });
    }

    first() { return this.lines.length ? { i: this.steps.length - 1, k: 0 } : null; }

    nearest(x, y) {
      if (!this.lines.length) return null;
      const i = this.steps.reduce((best, _, s) => (Math.abs(this.x(s) - x) < Math.abs(this.x(best) - x) ? s : best), 0);
      const away = (line) => (known(line.values[i]) ? Math.abs(this.y(line.values[i]) - y) : Infinity);
      return { i, k: this.lines.reduce((best, line, k) => (away(line) < away(this.lines[best]) ? k : best), 0) };
    }

    move(key, at) {
      if (!at) return undefined;
      const last = this.steps.length - 1;
      const across = { ArrowLeft: at.i - 1, ArrowRight: at.i + 1, Home: 0, End: last }[key];
      if (across !== undefined) return { ...at, i: within(across, 0, last) };
      const turn = { ArrowUp: -1, ArrowDown: 1 }[key];
      if (turn === undefined) return undefined;
      const order = this.ranked(at.i);
      const rank = order.indexOf(at.k);
      return { ...at, k: order.length ? order[within(rank + turn, 0, order.length - 1)] : at.k };
    }

    ranked(i) {
      const measured = this.lines.map((_, k) => k).filter((k) => known(this.lines[k].values[i]));
      return measured.sort((a, b) => this.lines[b].values[i] - this.lines[a].values[i]);
    }

    describe({ i, k }) {
      const order = this.ranked(i);
      const from = within(order.indexOf(k) - 5, 0, Math.max(0, order.length - 12));
      const rows = order.slice(from, from + 12).map((number) => {
        const line = this.lines[number];
        const bounds = line.band?.[i] ? ` (${range(line.band[i], this.score.decimals)})` : "";
        return { series: line.series, label: line.flat ? `${line.label} (after the last task)` : line.label, value: `${withUnit(line.values[i], this.score)}${bounds}`, active: number === k };
      });
      if (order.length > 12) rows.push({ label: `… ${order.length} lines in all`, value: "" });
      if (!rows.length) rows.push({ label: "not measured", value: "–" });
      const cursor = node("g", {}, node("line", { class: "cursor", x1: this.x(i), x2: this.x(i), y1: 14, y2: this.height - 46 }));
      const value = this.lines[k]?.values[i];
      if (known(value)) {
        cursor.append(node("rect", { class: "frame", x: this.x(i) - 7, y: this.y(value) - 7, width: 14, height: 14, rx: 7 }));
      }
      return { title: `after ${i + 1}: ${this.steps[i]}`, rows, x: this.x(i), y: known(value) ? this.y(value) : 60, cursor };
    }
  }

  // One row per series: a dot per run, a mark at the mean, a bar of one standard deviation to each side.
  class Dots extends Chart {
    constructor(host, heading, state) {
      super(host, heading, "Up and down arrows move between the methods.");
      this.state = state;
    }

    draw() {
      const { rows, chosen, heading, unit, score } = this.state();
      const { decimals } = score;
      this.heading.textContent = heading;
      this.chosen.textContent = chosen;
      this.rows = rows;
      Object.assign(this, { unit, decimals });
      const all = rows.flatMap((row) => row.runs.map((run) => run.value)).filter(known);
      if (!rows.length) return this.empty("Nothing is chosen.");
      const names = this.box.clientWidth >= 560 ? 170 : 110;
      this.start(46 + 26 * rows.length);
      const [left, right, bottom] = [names, this.width - 92, this.height - 32];
      let [low, high] = all.length ? [Math.min(...all), Math.max(...all)] : [0, 1];
      const room = Math.max(score.percent ? 1 : 1e-3, (high - low) * 0.06);
      [low, high] = [low - room, high + room];
      this.x = (value) => left + ((right - left) * (value - low)) / (high - low);
      this.y = (k) => 20 + 26 * k;
      for (const place of ticks(low, high, within(Math.floor((right - left) / 70), 2, 6))) {
        this.put("line", { class: place === 0 ? "cursor" : "grid", x1: this.x(place), x2: this.x(place), y1: 6, y2: bottom });
        const text = String(Number(place.toFixed(decimals + 1))).replace("-", "−");
        this.put("text", { x: this.x(place), y: bottom + 18, "text-anchor": "middle" }, text);
      }
      rows.forEach((row, k) => {
        const [y, values] = [this.y(k), row.runs.map((run) => run.value).filter(known)];
        const label = this.put("text", { x: names - 10, y: y + 4, "text-anchor": "end", class: "ink" }, elide(row.label, Math.floor((names - 10) / 6.9)));
        label.append(node("title", {}, row.label));
        const end = { x: this.width - 84, y: y + 4, class: "ink" };
        if (!values.length || values.length < row.runs.length) {
          this.put("text", end, "n/a");
        } else {
          const middle = mean(values);
          const off = values.length > 1 ? deviation(values) : null;
          if (off !== null) {
            const [x1, x2] = [Math.max(left, this.x(middle - off)), Math.min(right, this.x(middle + off))];
            this.put("line", { class: `line ${colour(row.series)}`, x1, x2, y1: y, y2: y });
          }
          this.put("path", { class: `mark ${colour(row.series)}`, d: mark(row.series), transform: `translate(${this.x(middle)} ${y}) scale(1.3)` });
          this.put("text", end, off === null ? fixed(middle, decimals) : `${fixed(middle, decimals)} ± ${fixed(off, decimals)}`);
        }
        if (row.runs.length > 1) {
          for (const value of values) this.put("rect", { class: `run ${colour(row.series)}`, x: this.x(value) - 2, y: y + 5, width: 4, height: 4, rx: 2 });
        }
      });
      return undefined;
    }

    first() { return this.rows.length ? 0 : null; }

    nearest(_, y) { return this.rows.length ? within(Math.round((y - 20) / 26), 0, this.rows.length - 1) : null; }

    move(key, at) {
      const next = { ArrowUp: at - 1, ArrowDown: at + 1, Home: 0, End: this.rows.length - 1 }[key];
      return next === undefined || at === null ? undefined : within(next, 0, this.rows.length - 1);
    }

    describe(k) {
      const row = this.rows[k];
      const rows = row.runs.map((run) => ({
        label: `seed ${run.seed}`, value: known(run.value) ? `${fixed(run.value, this.decimals)} ${this.unit}` : "n/a",
      }));
      const values = row.runs.map((run) => run.value).filter(known);
      if (values.length > 1 && values.length === row.runs.length) {
        rows.push({ label: "mean ± standard deviation", value: `${fixed(mean(values), this.decimals)} ± ${fixed(deviation(values), this.decimals)}`, active: true });
      }
      if (row.interval) rows.push({ label: "95 % t interval", value: Array.isArray(row.interval) ? range(row.interval, this.decimals) : `n/a: ${row.interval}`, active: Array.isArray(row.interval) });
      const cursor = node("rect", { class: "band", x: 0, y: this.y(k) - 13, width: this.width, height: 26 });
      return { title: row.label, rows, x: this.x(row.runs[0].value ?? 0), y: this.y(k) + 40, cursor };
    }
  }

  // The matrix of one run. `state()` gives {score, tasks, matrix, columns, chosen}.
  class Matrix extends Chart {
    constructor(host, heading, state) {
      super(host, heading, "Arrow keys move between the cells.");
      this.state = state;
    }

    draw() {
      const { score, tasks, matrix, columns, chosen } = this.state();
      Object.assign(this, { score, tasks, matrix, columns });
      const [least, most] = score.limits;
      const shade = (value) => (score.lower ? (100 * (most - value)) / (most - least) : (100 * (value - least)) / (most - least));
      this.chosen.textContent = chosen;
      if (!columns.length) return this.empty("No task is chosen.");
      this.rows = matrix.map((_, i) => i).filter((i) => i > 0 || matrix[0].some(known));
      const names = this.box.clientWidth >= 560 ? 150 : 96;
      const cell = Math.min(86, (Math.max(240, this.box.clientWidth) - names - 2) / columns.length);
      const tall = within(cell * 0.7, this.rows.length > 40 ? 6 : 14, 34);
      const head = 26;
      this.start(head + tall * this.rows.length + 6);
      Object.assign(this, { names, cell, tall, head });
      const every = Math.ceil(22 / cell);
      columns.forEach((j, c) => {
        const text = cell >= 56 ? shorten(tasks[j], Math.floor(cell / 6.8)) : c % every ? "" : String(j + 1);
        this.put("text", { x: names + cell * (c + 0.5), y: head - 9, "text-anchor": "middle", class: "ink" }, text).append(node("title", {}, tasks[j]));
      });
      const skip = Math.ceil(13 / tall);
      const letters = Math.floor((names - 8) / 6.9);
      const numbered = tasks.length > 20 || (letters < 16 && tasks.some((task) => task.length > letters - 6));
      this.rows.forEach((i, r) => {
        const y = head + tall * r;
        const text = i ? `after ${numbered ? i : tasks[i - 1]}` : letters < 15 ? "before" : "before training";
        if (r % skip === 0) this.put("text", { x: names - 8, y: y + tall / 2 + 4, "text-anchor": "end", class: "ink" }, shorten(text, letters));
        columns.forEach((j, c) => {
          const value = matrix[i][j];
          const x = names + cell * c;
          if (!known(value)) {
            if (cell >= 30) this.put("text", { x: x + cell / 2, y: y + tall / 2 + 4, "text-anchor": "middle" }, "–");
            return;
          }
          this.put("rect", { x, y, width: Math.max(1, cell - 1), height: Math.max(1, tall - 1), fill: "var(--cell)", "fill-opacity": (0.04 + 0.0096 * shade(value)).toFixed(3) });
          if (cell < 30) return;
          const tone = shade(value) < 55 ? "low" : shade(value) < 69 ? "middle" : "high";
          this.put("text", { x: x + cell / 2, y: y + tall / 2 + 4, "text-anchor": "middle", class: `${tone}${i === j + 1 ? " own" : ""}` }, fixed(value, score.decimals));
        });
      });
      return undefined;
    }

    first() { return this.columns.length ? { r: this.rows.length - 1, c: 0 } : null; }

    nearest(x, y) {
      const [c, r] = [Math.floor((x - this.names) / this.cell), Math.floor((y - this.head) / this.tall)];
      return c >= 0 && c < this.columns.length && r >= 0 && r < this.rows.length ? { r, c } : null;
    }

    move(key, at) {
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -1e9], End: [0, 1e9] }[key];
      if (!step || !at) return undefined;
      return { r: within(at.r + step[0], 0, this.rows.length - 1), c: within(at.c + step[1], 0, this.columns.length - 1) };
    }

    describe({ r, c }) {
      const [i, j] = [this.rows[r], this.columns[c]];
      const [value, own] = [this.matrix[i][j], this.matrix[j + 1]?.[j]];
      const rows = [{ label: i ? `after ${i}: ${this.tasks[i - 1]}` : "before training", value: known(value) ? withUnit(value, this.score) : "not measured", active: true }];
      if (i > j + 1 && known(value) && known(own)) {
        rows.push({ label: "since it was learned", value: `${value >= own ? "+" : ""}${fixed(value - own, this.score.decimals)}${this.score.differences ? ` ${this.score.differences}` : ""}` });
      }
      const [x, y] = [this.names + this.cell * c, this.head + this.tall * r];
      const cursor = node("rect", { class: "frame", x, y, width: this.cell - 1, height: this.tall - 1 });
      return { title: `task ${j + 1}: ${this.tasks[j]}`, rows, x: x + this.cell, y, cursor };
    }
  }

  // ---------------------------------------------------------------- choosing

  let ids = 0;

  function box(label, series, checked, onchange) {
    const input = node("input", { type: "checkbox" });
    input.checked = checked;
    input.addEventListener("change", () => onchange(input.checked));
    return { input, label: node("label", {}, input, ...(known(series) ? [swatch(series)] : []), label) };
  }

  function picker(title, options, onchange) {
    ids += 1;
    const select = node("select", { id: `pick-${ids}` }, ...options.map((text, i) => node("option", { value: i }, text)));
    select.addEventListener("change", () => onchange(Number(select.value)));
    return { select, label: node("div", { class: "pick" }, node("label", { for: `pick-${ids}` }, title), select) };
  }

  // Check boxes for the tasks of a group; `chosen` is a set of their numbers.
  function taskChoice(tasks, chosen, redraw) {
    const boxes = tasks.map((task, j) => box(`${j + 1} ${task}`, null, true, (on) => {
      if (on) chosen.add(j);
      else chosen.delete(j);
      redraw();
    }));
    const all = node("button", { type: "button" }, "all");
    const none = node("button", { type: "button" }, "none");
    for (const [button, on] of [[all, true], [none, false]]) {
      button.addEventListener("click", () => {
        boxes.forEach(({ input }, j) => {
          input.checked = on;
          if (on) chosen.add(j);
          else chosen.delete(j);
        });
        redraw();
      });
    }
    const labels = node("div", { class: "choices" }, ...boxes.map(({ label }) => label), all, none);
    const inside = tasks.length > 12 ? node("details", {}, node("summary", {}, `${tasks.length} tasks`), labels) : labels;
    return node("fieldset", { class: "tasks" }, node("legend", {}, "Tasks"), inside);
  }

  const tasksText = (tasks, chosen) => {
    if (chosen.size === tasks.length) return `all ${tasks.length} tasks`;
    const numbers = [...chosen].sort((a, b) => a - b);
    return `${numbers.length} of ${tasks.length} tasks: ${shorten(numbers.map((j) => tasks[j]).join(", "), 120) || "none"}`;
  };

  // A_t over the chosen tasks: their mean after each task, those not learned yet left out; null where a cell is missing.
  function seen(run, tasks, chosen) {
    return tasks.map((_, t) => {
      const cells = [...chosen].filter((j) => j <= t).map((j) => run.matrix[t + 1][j]);
      return cells.length && cells.every(known) ? mean(cells) : null;
    });
  }

  // What one answer for all test examples reaches; without a series of its own.
  const chanceLine = (values) => (values.some(known) ? [{ label: "chance", series: null, faint: [], values }] : []);

  function drawRun(host, group, run) {
    const chosen = new Set(group.tasks.keys());
    const charts = [];
    const redraw = () => charts.forEach((chart) => chart.draw());
    if (group.tasks.length > 1) host.append(node("div", { class: "controls" }, taskChoice(group.tasks, chosen, redraw)));
    const columns = () => [...chosen].sort((a, b) => a - b);
    charts.push(new Matrix(host, `${ofSplit(group, true)} ${group.score.label} on each task, after each task${direction(group.score)}`, () => (
      { score: group.score, tasks: group.tasks, matrix: run.matrix, columns: columns(), chosen: tasksText(group.tasks, chosen) }
    )));
    const several = group.tasks.length > 1 && run.matrix.slice(1, -1).some((row) => row.some(known));
    if (several) {
      charts.push(new Lines(host, `${ofSplit(group, true)} ${group.score.label} of each task, from when it was learned${direction(group.score)}`, () => ({
        score: group.score,
        steps: group.tasks,
        lines: [...columns().map((j) => ({
          label: group.tasks[j], series: j, faint: [], values: group.tasks.map((_, t) => (t < j ? null : run.matrix[t + 1][j] ?? null)),
        })), ...chanceLine(group.tasks.map(() => run.chance))],
        chosen: tasksText(group.tasks, chosen),
      })));
    }
    host.classList.add("drawn");
  }

  function drawGroup(host, group) {
    const runs = group.runs.filter((run) => run.complete);
    const on = new Set(runs);
    const chosen = new Set(group.tasks.keys());
    const charts = [];
    const redraw = () => charts.forEach((chart) => chart.draw());
    let metric = 0;

    const numbers = group.series.map((_, s) => s).filter((s) => runs.some((run) => run.series === s));
    const of = (s) => runs.filter((run) => run.series === s);
    const single = [];
    const methods = numbers.map((s) => box(group.series[s], s, true, (checked) => {
      for (const run of of(s)) (checked ? on.add(run) : on.delete(run));
      settle();
    }));
    for (const run of runs) {
      single.push(box(`${group.series[run.series]}, ${run.name}, seed ${run.seed}`, null, true, (checked) => {
        if (checked) on.add(run);
        else on.delete(run);
        settle();
      }));
    }
    function settle() {
      runs.forEach((run, i) => { single[i].input.checked = on.has(run); });
      numbers.forEach((s, i) => {
        const count = of(s).filter((run) => on.has(run)).length;
        methods[i].input.checked = count > 0;
        methods[i].input.indeterminate = count > 0 && count < of(s).length;
      });
      redraw();
    }
    const several = runs.length > numbers.length;
    const all = node("button", { type: "button" }, "all");
    const none = node("button", { type: "button" }, "none");
    all.addEventListener("click", () => { runs.forEach((run) => on.add(run)); settle(); });
    none.addEventListener("click", () => { on.clear(); settle(); });
    const runChoice = node("fieldset", { class: "runs" }, node("legend", {}, "Methods"),
      node("div", { class: "choices" }, ...methods.map(({ label }) => label), all, none),
      ...(several ? [node("details", {}, node("summary", {}, `${runs.length} single runs`), node("div", { class: "choices" }, ...single.map(({ label }) => label)))] : []));
    host.append(node("div", { class: "controls" }, runChoice, group.tasks.length > 1 ? taskChoice(group.tasks, chosen, redraw) : ""));

    const runsText = () => (on.size === runs.length ? `all ${runs.length} runs` : `${on.size} of ${runs.length} runs`);
    const kept = () => numbers.map((s) => [s, of(s).filter((run) => on.has(run))]).filter(([, some]) => some.length);
    // What Python computed holds for all runs of a method, and the lines for all tasks; a choice has no interval.
    const whole = (s, some) => some.length === of(s).length;
    const bandOf = (s, some) => (whole(s, some) && chosen.size === group.tasks.length ? group.bands[s] : null);
    const bandText = () => {
      const seeds = kept().filter(([s, some]) => bandOf(s, some)).map(([, some]) => new Set(some.map((run) => run.seed)).size);
      if (!group.bands.some((band) => band)) return "no interval below 3 seeds";
      if (!seeds.length) return "intervals are of all runs and tasks alone";
      const [low, high] = [Math.min(...seeds), Math.max(...seeds)];
      return `band: 95 % t interval over ${low === high ? low : `${low} to ${high}`} seeds`;
    };
    const label = (s, some) => (some.length > 1 ? `${group.series[s]}, ${some.length} runs` : group.series[s]);

    charts.push(new Lines(host, `Mean ${ofSplit(group)} ${group.score.label} on the chosen tasks seen so far${direction(group.score)}`, () => ({
      score: group.score,
      steps: group.tasks,
      lines: [...kept().map(([s, some]) => {
        const faint = some.map((run) => seen(run, group.tasks, chosen));
        const values = group.tasks.map((_, t) => (faint.every((row) => known(row[t])) ? mean(faint.map((row) => row[t])) : null));
        // Measured after the last task only, as joint training is: a level to compare with.
        const flat = values.length > 1 && values.slice(0, -1).every((value) => !known(value)) && known(values.at(-1)) && chosen.size > 0
          && !some.some((run) => run.matrix.slice(1, -1).some((row) => row.some(known)));
        const band = bandOf(s, some);
        return {
          label: label(s, some), series: s, flat, values: flat ? values.map(() => values.at(-1)) : values,
          band: band && flat ? band.map(() => band.at(-1)) : band,
          faint: some.length > 1 && !flat && !band ? faint : [],
        };
      }), ...chanceLine(chosen.size === group.tasks.length ? group.chance : [])],
      chosen: `${runsText()}, ${tasksText(group.tasks, chosen)}; ${bandText()}`,
    })));

    const metricPick = picker("Metric", group.metrics.map(({ symbol, title }) => `${symbol}: ${title}`), (number) => {
      metric = number;
      charts[1].draw();
    });
    metricPick.select.classList.add("metric");
    host.append(metricPick.label);
    charts.push(new Dots(host, "", () => {
      const { symbol, title, text, unit } = group.metrics[metric];
      return {
        heading: `${title} (${symbol})${unit ? `, ${unit}` : ""}`,
        unit,
        score: group.score,
        rows: kept().map(([s, some]) => ({
          label: group.series[s], series: s, interval: whole(s, some) && some.length > 1 ? group.intervals[s][metric] : null, runs: some.map((run) => ({ seed: run.seed, value: run.metrics[metric] })),
        })),
        chosen: `${text} Over all tasks; ${runsText()}${several ? "; bar: ± 1 standard deviation" : ""}.`,
      };
    }));

    let shown = runs[0];
    const runPick = picker("Run", runs.map((run) => `${group.series[run.series]}, ${run.name}, seed ${run.seed}`), (number) => {
      shown = runs[number];
      charts[2].draw();
    });
    runPick.select.classList.add("run-of-matrix");
    host.append(runPick.label);
    charts.push(new Matrix(host, `${ofSplit(group, true)} ${group.score.label} on each task, after each task${direction(group.score)}`, () => ({
      score: group.score,
      tasks: group.tasks,
      matrix: shown.matrix,
      columns: [...chosen].sort((a, b) => a - b),
      chosen: `${group.series[shown.series]}, ${shown.name}, seed ${shown.seed}; ${tasksText(group.tasks, chosen)}`,
    })));
    host.classList.add("drawn");
  }

  // ---------------------------------------------------------------- the page

  for (const group of DATA.groups) {
    const place = document.querySelector(`[data-group="${group.id}"]`);
    if (place) drawGroup(place, group);
    for (const run of group.runs) {
      const host = document.querySelector(`[data-run="${run.id}"]`);
      const around = host.closest(`details[id]`);
      if (!around || around.open) drawRun(host, group, run);
      else around.addEventListener("toggle", () => drawRun(host, group, run), { once: true });
    }
  }

  function reveal() {
    const target = document.getElementById(location.hash.slice(1));
    if (target instanceof HTMLDetailsElement) {
      for (let fold = target; fold; fold = fold.parentElement.closest("details")) fold.open = true;
      target.scrollIntoView();
    }
  }
  window.addEventListener("hashchange", reveal);
  reveal();

  const theme = node("button", { type: "button", class: "theme" });
  const dark = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const name = () => { theme.textContent = dark() ? "Light page" : "Dark page"; };
  theme.addEventListener("click", () => { document.documentElement.dataset.theme = dark() ? "light" : "dark"; name(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
  name();
  document.querySelector("main").prepend(theme);
})();
