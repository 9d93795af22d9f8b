/* Formulas of the phase explorer, as in hierdiff.theory.rhm.mean_field, .dynamical_correlations and
   hierdiff.theory.mixture.feature_snr; a test compares them with the library to 1e-3.

   v, m, s, L   symbols, rules per symbol, branching, depth
   p, P         upward belief in the true symbol, P = p^s
   q            downward belief in the true symbol
   f, kappa     (m v - 1)/(v^s - 1), share of other tuples that are rules;
                (m - 1)/(m v - 1), share of those that belong to the true symbol            */
"use strict";
const hierdiffTheory = (() => {
  // F(p), one step up the tree; v^s stays below 2^24 on the page, so no logarithms are needed
  function upward(p, { v, m, s }) {
    const P = p ** s, N = v ** s - 1;
    const top = P + ((m - 1) / N) * (1 - P);
    return top / (P + ((m * v - 1) / N) * (1 - P));
  }

  // G(q, p), one step down; at m = q = 1 the parent dictates the child
  function downward(q, p, { v, m, s }) {
    const Q = p ** (s - 1), w = (m - q) / (v ** s - 1);
    const own = q * Q + (1 - Q) * w;
    return own + (v - 1) * w > 0 ? own / (own + (v - 1) * w) : 1;
  }

  // upward, downward and marginal belief of every level, root first
  function beliefs(rhm, epsilon) {
    const { v, L } = rhm, up = Array(L + 1), down = Array(L + 1);
    up[L] = 1 - epsilon + epsilon / v;
    for (let l = L - 1; l >= 0; l--) up[l] = upward(up[l + 1], rhm);
    down[0] = 1 / v;
    for (let l = 0; l < L; l++) down[l + 1] = downward(down[l], up[l + 1], rhm);
    const marginal = up.map((p, l) => {
      const yes = p * down[l], no = ((1 - p) * (1 - down[l])) / (v - 1);
      return yes + no > 0 ? yes / (yes + no) : 1;
    });
    return { up, down, marginal };
  }

  // T(p) = sum_k (m - v^k) p^k has the sign of F(p) - p with the fixed points 1/v and 1 taken out
  const cofactor = (p, { v, m, s }) => {
    let total = 0;
    for (let k = 0; k < s; k++) total += (m - v ** k) * p ** k;
    return total;
  };

  // "transition", "always lost" (F'(1) >= 1) or "never lost" (F'(1/v) >= 1), in integers
  function regime({ v, m, s }) {
    const [V, M, S] = [v, m, s].map(BigInt), N = V ** S - 1n;
    if (S * M * (V - 1n) >= N) return "always lost";
    if (S * (V - 1n) * V ** (S - 1n) >= M * N) return "never lost";
    return "transition";
  }

  function bisect(above, low, high) {
    for (let i = 0; i < 60; i++) {
      const middle = (low + high) / 2;
      if (above(middle)) low = middle;
      else high = middle;
    }
    return (low + high) / 2;
  }

  // p*, epsilon* = (1 - p*)/(1 - 1/v), F'(p*) and nu = log s / log F'(p*); null without a transition
  function threshold(rhm) {
    if (regime(rhm) !== "transition") return null;
    const { v, m, s } = rhm, N = v ** s - 1, f = (m * v - 1) / N;
    const p = bisect((x) => cofactor(x, rhm) > 0, 1 / v, 1), P = p ** s;
    const slope = ((s * m * (v - 1)) / N) * (p ** (s - 1) / (P + f * (1 - P)) ** 2);
    return { belief: p, epsilon: (1 - p) / (1 - 1 / v), slope, nu: Math.log(s) / Math.log(slope) };
  }

  // where half of the belief in the class is left at depth L; null where it never is (v = 2)
  function halfLost(rhm) {
    if (rhm.v === 2) return null;
    return bisect((x) => beliefs(rhm, x).up[0] > 0.5, 0, 1);
  }

  // chi = 1 + sum_d (s - 1) s^(d-1) C(d)/C(0) of the two-state chain
  function susceptibility(rhm, epsilon) {
    const { v, m, s, L } = rhm, N = v ** s - 1, k = (m - 1) / N;
    const { up, down } = beliefs(rhm, epsilon);
    let path = 1, total = 0, variance = 0;
    for (let d = 1; d <= L; d++) {
      const p = up[L - d + 1], P = p ** s, q = down[L - d], c = (m - q) / N;
      const Z = q * P + c * (1 - P), other = Z > 0 ? c / Z : 0;
      if (d === 1) {
        const changed = (1 - p) * other;
        variance = 4 * changed * (1 - changed);
      }
      const pair = Z > 0 ? 4 * (1 - p) ** 2 * other * (((q - c) * P) / Z) : 0;
      total += (s - 1) * s ** (d - 1) * pair * path;
      // what the next distance has passed below: lambda^2 of this level
      let odd = 0;
      for (let j = 0; j < s; j++) odd += p ** j;
      path *= (P / (P + k * (1 - P)) / odd) ** 2;
    }
    return variance > 0 ? 1 + total / variance : 1;
  }

  // nodes and weights of Gauss and Legendre on [-1, 1]
  const legendre = ((known) => (n) => {
    if (known[n]) return known[n];
    const x = [], w = [];
    for (let i = 0; i < n; i++) {
      let z = Math.cos((Math.PI * (i + 0.75)) / (n + 0.5)), slope = 1;
      for (let j = 0; j < 20; j++) {
        let a = 1, b = 0;
        for (let k = 0; k < n; k++) [a, b] = [((2 * k + 1) * z * a - k * b) / (k + 1), a];
        slope = (n * (z * a - b)) / (z * z - 1);
        z -= a / slope;
      }
      x.push(z);
      w.push(2 / ((1 - z * z) * slope * slope));
    }
    return (known[n] = { x, w });
  })({});

  function logGamma(z) {
    // Stirling's series from z = 10 upwards
    let shift = 0;
    for (; z < 10; z++) shift -= Math.log(z);
    const y = 1 / (z * z);
    const series = (1 / 12 - y * (1 / 360 - y * (1 / 1260 - y / 1680))) / z;
    return shift + (z - 0.5) * Math.log(z) - z + 0.5 * Math.log(2 * Math.PI) + series;
  }

  // E[e^-y], E[1 - e^-y], E[X y e^-y], E[X y^2 e^-y] over X ~ chi^2_d, y = e^(u + rate X)
  function tilted(d, u, rate, end) {
    const { x, w } = legendre(60 + Math.floor(3 * Math.sqrt(d)));
    const norm = (1 - d / 2) * Math.LN2 - logGamma(d / 2), sums = [0, 0, 0, 0];
    for (let i = 0; i < x.length; i++) {
      const t = (end / 2) * (1 + x[i]);
      const weight = (end / 2) * w[i] * Math.exp(norm - (t * t) / 2 + (d - 1) * Math.log(t));
      const y = Math.exp(Math.min(u + rate * t * t, 5)), damp = weight * Math.exp(-y);
      sums[0] += damp;
      sums[1] -= weight * Math.expm1(-y);
      sums[2] += damp * t * t * y;
      sums[3] += damp * t * t * y * y;
    }
    return sums;
  }

  // exact SNR of the posterior mean in K orthogonal subspaces of rank d: trapezoidal rule in u
  function snr(K, d, delta, sigma) {
    const a = 1 + sigma ** 2, b = delta ** 2 + sigma ** 2, r = (1 - delta ** 2) / (2 * a * b);
    const step = 0.25, cut = 5, top = Math.sqrt(2 * d) + 9.5;
    const low = -40 - Math.log(K - 1) + d * Math.log(b / a);
    const own = [d, d, d], other = [d, 0, 0];
    for (let u = low; u < cut; u += step) {
      const room = Math.sqrt(Math.max(cut - u, 0) / Math.max(r * a, 1e-300));
      const p = tilted(d, u, r * a, Math.min(top, room)), n = tilted(d, u, r * b, top);
      const log = n[1] < 0.5 ? Math.log1p(-n[1]) : Math.log(Math.max(n[0], 1e-300));
      const quiet = (K - 1) * log, loud = -Math.expm1(quiet) * step;
      own[1] -= p[2] * loud;
      own[2] -= p[3] * loud;
      const weight = p[0] * Math.exp(quiet - log) * step;
      other[1] += n[2] * weight;
      other[2] += n[3] * weight;
    }
    const floor = delta ** 2, gain = (sigma ** 2 / a) * (1 - delta ** 2);
    const scaled = (x) => floor ** 2 * x[0] + 2 * floor * gain * x[1] + gain ** 2 * x[2];
    return (a * scaled(own)) / ((K - 1) * b * scaled(other));
  }

  // the maximum over sigma: a grid in log sigma, then golden section; sigma = 0 where it falls
  function snrPeak(K, d, delta) {
    const low = Math.log(1e-3), high = Math.log(100), n = 36;
    const at = (x) => snr(K, d, delta, Math.exp(x));
    const grid = Array.from({ length: n }, (_, i) => low + ((high - low) * i) / (n - 1));
    const values = grid.map(at), best = values.indexOf(Math.max(...values));
    if (best === 0) return { sigma: 0, value: 1 / ((K - 1) * delta ** 2) };
    const g = (Math.sqrt(5) - 1) / 2;
    let [x, y] = [grid[best - 1], grid[Math.min(best + 1, n - 1)]];
    let [c, e] = [y - g * (y - x), x + g * (y - x)], [atC, atE] = [at(c), at(e)];
    while (y - x > 1e-4) {
      if (atC > atE) {
        [y, e, atE] = [e, c, atC];
        c = y - g * (y - x);
        atC = at(c);
      } else {
        [x, c, atC] = [c, e, atE];
        e = x + g * (y - x);
        atE = at(e);
      }
    }
    return { sigma: Math.exp((x + y) / 2), value: Math.max(atC, atE) };
  }

  return { beliefs, halfLost, regime, snr, snrPeak, susceptibility, threshold, upward };
})();
