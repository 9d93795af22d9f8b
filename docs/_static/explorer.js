/* The page of the phase explorer: sliders, three drawings, and numbers in words.  The address holds
   the parameters, so a link shows what its sender saw. */
"use strict";
(() => {
  const root = document.getElementById("explorer");
  if (!root) return;
  const theory = hierdiffTheory, table = window.hierdiffTable;
  const SLIDERS = {
    v: { words: "symbols v", min: 2, max: 64, step: 1, start: 32 },
    m: { words: "rules per symbol m", min: 1, max: 32, step: 1, start: 8 },
    s: { words: "branching s", min: 2, max: 4, step: 1, start: 2 },
    L: { words: "depth L", min: 1, max: 14, step: 1, start: 10 },
    t: { words: "noise level", min: 0, max: 1, step: 0.005, start: 0.6 },
    K: { words: "classes K", min: 2, max: 20, step: 1, start: 3 },
    d: { words: "rank d", min: 1, max: 40, step: 1, start: 5 },
    delta: { words: "residual δ", min: 0.02, max: 1, step: 0.01, start: 0.2 },
    sigma: { words: "noise σ", min: 0.01, max: 4, step: 0.01, start: 0.1 },
  };
  const PROCESSES = ["epsilon", "masking", "uniform", "gaussian"];
  const state = { process: "epsilon" };
  for (const [name, slider] of Object.entries(SLIDERS)) state[name] = slider.start;

  // ------------------------------------------------------------------------------ parameters

  const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

  // there are v^(s-1) tuples per symbol, so no more rules; v^s stays small enough to be exact
  const mostRules = () => Math.min(SLIDERS.m.max, state.v ** (state.s - 1));

  function set(found) {
    for (const [name, slider] of Object.entries(SLIDERS)) {
      const x = Number(found[name]);
      if (found[name] === undefined || found[name] === "" || !Number.isFinite(x)) continue;
      const whole = slider.step === 1 ? Math.round(x) : x;
      state[name] = clamp(whole, slider.min, slider.max);
    }
    if (PROCESSES.includes(found.process)) state.process = found.process;
    if (state.process !== "epsilon") {
      const near = nearest();
      for (const name of "vms") state[name] = near[name];
      state.L = nearestDepth();
    }
    state.m = clamp(state.m, 1, mostRules());
  }

  // the grammar of the table that is most like the chosen one
  function nearest() {
    const far = (g) =>
      4 * Math.abs(g.s - state.s) + Math.abs(Math.log(g.v / state.v)) +
      Math.abs(Math.log(g.m / state.m));
    return table.grammars.reduce((a, b) => (far(b) < far(a) ? b : a));
  }

  const nearestDepth = () =>
    table.depths.reduce((a, b) => (Math.abs(b - state.L) < Math.abs(a - state.L) ? b : a));

  const readHash = () => set(Object.fromEntries(new URLSearchParams(location.hash.slice(1))));

  function writeHash() {
    const words = ["v", "m", "s", "L", "process", "t", "K", "d", "delta", "sigma"];
    const mark = words.map((name) => `${name}=${state[name]}`).join("&");
    history.replaceState(null, "", `#${mark}`);
  }

  // ----------------------------------------------------------------------------------- numbers

  const interpolate = (xs, ys, x) => {
    const i = clamp(xs.findIndex((one) => one >= x), 1, xs.length - 1);
    if (x === xs[i]) return ys[i];  // its neighbour may be missing
    const share = (x - xs[i - 1]) / (xs[i] - xs[i - 1]);
    return ys[i - 1] + share * (ys[i] - ys[i - 1]);
  };

  // level curves on a grid, the threshold for infinite depth, and where half of the class is lost
  function curves() {
    if (state.process === "epsilon") {
      const t = Array.from({ length: 241 }, (_, i) => i / 240);
      const found = t.map((x) => theory.beliefs(state, x).marginal);
      const belief = found[0].map((_, level) => found.map((row) => row[level]));
      const limit = theory.threshold(state);
      const now = theory.beliefs(state, state.t).marginal;
      return { t, belief, limit: limit && limit.epsilon, half: theory.halfLost(state), now };
    }
    const one = nearest()[state.process];
    const belief = one.belief[state.L].map((row) => row.map((x) => x / table.digits));
    const i = belief[0].findIndex((x) => x < 0.5), [high, low] = [belief[0][i - 1], belief[0][i]];
    const half = i > 0 ? one.t[i - 1] + ((high - 0.5) / (high - low)) * (one.t[i] - one.t[i - 1])
      : null;
    const now = belief.map((row) => interpolate(one.t, row, state.t));
    const [chi, spread] = [one.chi, one.chi_error].map((found) =>
      found[state.L].map((x) => (x === null ? NaN : x / table.digits)));
    return { t: one.t, belief, limit: one.threshold, error: one.error, half, now, chi, spread };
  }

  // the mixture takes most of the time, and only its own sliders change it
  let mixture = { key: "" };
  function mixtureNow() {
    const { K, d, delta } = state, key = [K, d, delta].join();
    if (mixture.key !== key) {
      const sigma = Array.from({ length: 97 }, (_, i) => 0.01 * 400 ** (i / 96));
      const snr = sigma.map((x) => theory.snr(K, d, delta, x));
      mixture = { key, sigma, snr, peak: theory.snrPeak(K, d, delta) };
    }
    return mixture;
  }

  function shown() {
    const rhm = { ...state }, found = curves();
    const numbers = {
      threshold: found.limit, error: found.error ?? 0, half: found.half, belief: found.now,
      regime: theory.regime(rhm), susceptibility: null, spread: 0, nu: null,
      snr: theory.snr(state.K, state.d, state.delta, state.sigma),
      peak: mixtureNow().peak,
    };
    if (state.process === "epsilon") {
      numbers.susceptibility = theory.susceptibility(rhm, state.t);
      numbers.nu = theory.threshold(rhm)?.nu ?? null;
      found.chi = found.t.map((x) => theory.susceptibility(rhm, x));
    } else {
      const chi = interpolate(found.t, found.chi, state.t);
      numbers.susceptibility = Number.isNaN(chi) ? null : chi;
      numbers.spread = interpolate(found.t, found.spread, state.t);
    }
    return { numbers, found };
  }

  // ---------------------------------------------------------------------------------- drawings

  const element = (name, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  // plasma from dark to .64, as hierdiff.plots.level_colours has it
  const SHADES = ["#0d0887", "#44039e", "#6f00a8", "#9613a1", "#b83289", "#d35171", "#e87059"];
  function shade(share) {
    const at = clamp(share, 0, 1) * (SHADES.length - 1), i = Math.min(Math.floor(at), SHADES.length - 2);
    const [a, b] = [SHADES[i], SHADES[i + 1]].map((x) =>
      [1, 3, 5].map((k) => parseInt(x.slice(k, k + 2), 16)));
    return `rgb(${a.map((x, k) => Math.round(x + (at - i) * (b[k] - x))).join(",")})`;
  }
  const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT] = [420, 320, 56, 48, 65, 14];
  const short = (x) => Number(x.toPrecision(3)).toString();

  function draw(id, { title, x, y, lines, marks = [], log = false }) {
    const svg = document.getElementById(id), [x0, x1] = x.range, [y0, y1] = y.range;
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `${title}; ${y.words} against ${x.words}`);
    const map = log ? Math.log10 : (one) => one;
    const px = (one) =>
      LEFT + ((WIDTH - LEFT - RIGHT) * (map(one) - map(x0))) / (map(x1) - map(x0));
    const py = (one) => HEIGHT - BOTTOM - ((HEIGHT - BOTTOM - TOP) * (one - y0)) / (y1 - y0);
    const text = (at, words, more = {}) =>
      svg.append(element("text", { x: at[0], y: at[1], ...more }, words));
    text([LEFT, 18], title, { class: "title" });
    const frame = `M${LEFT} ${TOP}V${HEIGHT - BOTTOM}H${WIDTH - RIGHT}`;
    svg.append(element("path", { d: frame, class: "frame" }));
    for (const one of x.ticks) {
      svg.append(element("path", { d: `M${px(one)} ${HEIGHT - BOTTOM}v5`, class: "frame" }));
      text([px(one), HEIGHT - BOTTOM + 19], short(one), { "text-anchor": "middle" });
    }
    for (const one of y.ticks) {
      svg.append(element("path", { d: `M${LEFT} ${py(one)}h-5`, class: "frame" }));
      text([LEFT - 8, py(one) + 4], short(one), { "text-anchor": "end" });
    }
    text([(LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8], x.words, { "text-anchor": "middle" });
    const middle = (TOP + HEIGHT - BOTTOM) / 2;
    text([14, middle], y.words, {
      "text-anchor": "middle", transform: `rotate(-90 14 ${middle})`,
    });
    for (const line of lines) {
      const points = line.x.map((one, i) => [px(one), py(clamp(line.y[i], y0, y1))])
        .filter(([a, b]) => Number.isFinite(a) && Number.isFinite(b))
        .map(([a, b]) => `${a.toFixed(1)} ${b.toFixed(1)}`);
      const drawn = element("path", {
        d: `M${points.join("L")}`, stroke: line.colour, class: "curve",
        "stroke-dasharray": line.dashes ?? "",
      });
      drawn.append(element("title", {}, line.words ?? title));
      svg.append(drawn);
    }
    // the words of marks stand in rows above the frame, where there is no curve
    const row = (mark) => 39 + 18 * mark.row, place = (mark) => px(mark.x);
    const seen = marks.filter((one) => one.x >= x0 && one.x <= x1);
    for (const mark of seen) {
      const d = `M${place(mark)} ${row(mark) - 11}V${HEIGHT - BOTTOM}`;
      svg.append(element("path", { d, class: mark.kind }));
    }
    for (const mark of seen) {
      const at = place(mark), left = at + 7 * mark.words.length > WIDTH ||
        // words of a mark would run into the next one
        (at > LEFT + 90 && seen.some((one) => place(one) > at && place(one) < at + 90));
      text([at + (left ? -4 : 4), row(mark)], mark.words, {
        "text-anchor": left ? "end" : "start", class: "halo",
      });
    }
  }

  const ticks = (high) => {
    const raw = high / 4, unit = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((k) => k * unit).find((one) => one >= raw);
    return Array.from({ length: Math.floor(high / step) + 1 }, (_, i) => i * step);
  };

  function drawAll({ numbers, found }) {
    const symbol = state.process === "epsilon" ? "ε" : "t", last = state.L;
    const axis = { words: `noise level ${symbol}`, range: [0, 1], ticks: [0, 0.25, 0.5, 0.75, 1] };
    const here = { x: state.t, words: `${symbol} = ${short(state.t)}`, kind: "here", row: 1 };
    const marks = [here];
    if (numbers.threshold !== null) {
      const words = `${symbol}* = ${numbers.threshold.toFixed(4)}`;
      marks.push({ x: numbers.threshold, words, kind: "threshold", row: 0 });
    }
    draw("explorer-levels", {
      title: "Belief in the true symbol: class dark, leaves light",
      x: axis, y: { words: "probability", range: [0, 1], ticks: [0, 0.5, 1] }, marks,
      lines: found.belief.map((row, level) => ({
        x: found.t, y: row, colour: shade(level / last),
        words: level === 0 ? "class" : level === last ? "leaves" : `level ${level}`,
      })),
    });
    const top = 1.08 * Math.max(...found.chi.filter(Number.isFinite), 1.5);
    draw("explorer-chi", {
      title: "Leaves that change together, χ", x: axis, marks,
      y: { words: "χ", range: [0, top], ticks: ticks(top) },
      lines: [{ x: found.t, y: found.chi, colour: shade(0.45), words: "χ" }],
    });
    const { sigma: grid, snr } = mixtureNow();
    const high = 1.1 * Math.max(...snr, numbers.peak.value), { sigma } = numbers.peak;
    draw("explorer-snr", {
      title: "Mixture: signal-to-noise ratio of denoised features", log: true,
      x: { words: "noise σ", range: [0.01, 4], ticks: [0.01, 0.03, 0.1, 0.3, 1, 3] },
      y: { words: "SNR", range: [0, high], ticks: ticks(high) },
      lines: [{ x: grid, y: snr, colour: shade(0.45), words: "exact SNR" }],
      marks: [
        { x: state.sigma, words: `σ = ${short(state.sigma)}`, kind: "here", row: 1 },
        { x: sigma, words: `peak ${short(numbers.peak.value)}, σ = ${short(sigma)}`,
          kind: "threshold", row: 0 },
      ],
    });
  }

  // ------------------------------------------------------------------------------------- words

  function describe({ numbers }) {
    const epsilon = state.process === "epsilon", symbol = epsilon ? "ε" : "t";
    const none = "none at these parameters";
    const rows = [
      ["regime", epsilon || numbers.regime !== "transition"
        ? numbers.regime : "transition (by the recursion of the ε-process)"],
      [`threshold ${symbol}*, L → ∞`, numbers.threshold === null ? none
        : numbers.threshold.toFixed(4) + (numbers.error ? ` ± ${numbers.error.toFixed(4)}` : "")],
      [`half of the class lost at L = ${state.L}`, numbers.half === null ? none
        : `${symbol} = ${numbers.half.toFixed(4)}`],
      [`belief in the class at ${symbol} = ${short(state.t)}`, numbers.belief[0].toFixed(4)],
      [`belief in a leaf at ${symbol} = ${short(state.t)}`, numbers.belief.at(-1).toFixed(4)],
    ];
    const chi = epsilon ? numbers.susceptibility.toFixed(4)
      : numbers.susceptibility === null ? "fewer than one leaf in a hundred fluctuates"
      : `${numbers.susceptibility.toFixed(2)} ± ${numbers.spread.toFixed(2)}`;
    rows.push([`susceptibility χ at ${symbol} = ${short(state.t)}`, chi]);
    if (epsilon) {
      rows.push(["exponent ν", numbers.nu === null ? none : numbers.nu.toFixed(4)]);
    }
    rows.push([`SNR of the mixture at σ = ${short(state.sigma)}`, short(numbers.snr)]);
    rows.push(["peak of the SNR", numbers.peak.sigma === 0 ? "at σ = 0: it falls from the start"
      : `${short(numbers.peak.value)} at σ = ${numbers.peak.sigma.toFixed(4)}`]);
    const body = document.getElementById("explorer-numbers");
    body.replaceChildren(...rows.map(([name, value]) => {
      const row = document.createElement("tr");
      for (const [kind, words] of [["th", name], ["td", value]]) {
        const cell = document.createElement(kind);
        cell.textContent = words;
        row.append(cell);
      }
      return row;
    }));
    document.getElementById("explorer-note").textContent = epsilon
      ? "ε-process: the annealed recursion, computed in this page."
      : `${state.process} noise: density evolution with ${table.made.size} messages ` +
        `(susceptibility: ${table.made.members}), from a table of ${table.grammars.length} grammars and depths ${table.depths.join(", ")}; the sliders move to ` +
        "the nearest. Curves are straight between the noise levels of the table.";
  }

  // --------------------------------------------------------------------------------------- page

  const inputs = {};

  function control(name) {
    const slider = SLIDERS[name], label = document.createElement("label");
    const words = document.createElement("span"), value = document.createElement("output");
    const input = document.createElement("input");
    words.textContent = slider.words;
    Object.assign(input, { type: "range", min: slider.min, max: slider.max, step: slider.step });
    input.addEventListener("input", () => {
      set({ [name]: input.value });
      show();
    });
    label.append(words, value, input);
    inputs[name] = { input, value };
    return label;
  }

  function build() {
    const grammar = document.getElementById("explorer-grammar");
    const label = document.createElement("label"), words = document.createElement("span");
    const choice = document.createElement("select");
    words.textContent = "noise process";
    for (const name of PROCESSES) choice.append(new Option(name, name));
    choice.addEventListener("change", () => {
      set({ process: choice.value });
      show();
    });
    label.append(words, choice);
    inputs.process = { input: choice };
    grammar.append(label, ...["v", "m", "s", "L", "t"].map(control));
    document.getElementById("explorer-mixture")
      .append(...["K", "d", "delta", "sigma"].map(control));
  }

  function show() {
    inputs.m.input.max = mostRules();
    for (const [name, { input, value }] of Object.entries(inputs)) {
      input.value = state[name];
      if (value) value.textContent = short(Number(state[name]));
    }
    const all = shown();
    drawAll(all);
    describe(all);
    writeHash();
    return all.numbers;
  }

  const missing = [];
  if (typeof BigInt === "undefined") missing.push("BigInt");
  if (!("URLSearchParams" in window)) missing.push("URLSearchParams");
  if (!("createElementNS" in document)) missing.push("SVG");
  if (!table) missing.push("the table explorer_table.js");
  const message = document.getElementById("explorer-message");
  if (missing.length) {
    message.textContent = `The explorer needs ${missing.join(" and ")}, which is missing here. ` +
      "A browser of 2020 or newer has all of it; the same numbers come from hierdiff.theory.";
    return;
  }
  message.remove();
  build();
  readHash();
  show();
  addEventListener("hashchange", () => {
    readHash();
    show();
  });
  window.hierdiffExplorer = {
    set: (found) => {
      set(found);
      return show();
    },
    state,
  };
})();
