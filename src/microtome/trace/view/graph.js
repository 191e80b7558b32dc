function microtomeGraph(id) {
  "use strict";
  const root = document.getElementById(id), data = JSON.parse(document.getElementById(id + "-data").textContent);
  const NS = "http://www.w3.org/2000/svg", N = data.nodes, E = data.edges, m = E.s.length;
  const el = (tag, cls, parent, text) => {
    const e = document.createElement(tag); if (cls) e.className = cls; if (text !== undefined) e.textContent = text;
    if (parent) parent.appendChild(e); return e;
  };
  const sv = (tag, attrs, parent) => {
    const e = document.createElementNS(NS, tag); for (const k in attrs) e.setAttribute(k, attrs[k]); parent.appendChild(e); return e;
  };
  const num = x => { const a = Math.abs(x); return a !== 0 && (a < 1e-3 || a >= 1e5) ? x.toExponential(1) : String(+x.toPrecision(3)); };
  const ins = N.map(() => []), outs = N.map(() => []);
  for (let j = 0; j < m; j++) { ins[E.t[j]].push(j); outs[E.s[j]].push(j); }

  // the bar, the drawing, the side
  const bar = el("div", "mtg-bar", root), box = el("div", "", root), side = el("div", "mtg-side", root);
  const slider = (name, value) => {
    const label = el("label", "", bar, name), input = el("input", "", label), shown = el("b", "", label);
    Object.assign(input, {type: "range", min: 0, max: 100, value}); input.setAttribute("aria-label", name);
    input.addEventListener("input", () => { filter(); draw(); }); return [input, shown];
  };
  const order = N.map((_, i) => i).sort((a, b) => N[b].i - N[a].i);
  const [nodeInput, nodeShown] = slider("nodes", 100), [edgeInput, edgeShown] = slider("edges", 0);
  const fitButton = el("button", "", bar, "fit"); fitButton.type = "button";
  const svg = sv("svg", {role: "group", "aria-label": "attribution graph"}, box), scene = sv("g", {}, svg);
  const rows = sv("g", {}, scene), lines = sv("g", {}, scene), dots = sv("g", {}, scene);

  // layers upwards, positions to the right; biases in a column of their own on the left
  const layers = [...new Set(N.map(n => n.l))].sort((a, b) => a - b), columns = [...new Set(N.map(n => n.p))].sort((a, b) => a - b);
  const cells = new Map();
  N.forEach((n, i) => { const k = n.l + "," + n.p; if (!cells.has(k)) cells.set(k, []); cells.get(k).push(i); });
  for (const list of cells.values()) list.sort((a, b) => N[b].i - N[a].i);
  const R = N.length > 150 ? 4.5 : 7, STEP = R * 2 + 5, ROOM = N.length > 150 ? 0 : 34;
  const wide = {}, high = {};
  for (const p of columns) {
    const most = Math.max(1, ...layers.map(l => (cells.get(l + "," + p) || []).length));
    wide[p] = Math.min(most, Math.max(2, Math.ceil(Math.sqrt(most * 1.6))));
  }
  for (const l of layers) high[l] = Math.max(1, ...columns.map(p => Math.ceil((cells.get(l + "," + p) || []).length / wide[p])));
  const X = {}, Y = {}; let x = 60, y = 0;
  for (const p of columns) { const w = Math.max(wide[p] * (STEP + ROOM), 54); X[p] = x; x += w + 18; wide[p] = [wide[p], w]; }
  const natural = layers.reduce((a, l) => a + high[l] * (STEP + (ROOM ? 10 : 0)) + 30, 60), shape = (svg.clientHeight || 500) / (svg.clientWidth || 900);
  const gap = 30 + Math.max(0, Math.min(140, (x * shape - natural) / layers.length));  // layers are spread to fill the frame
  for (const l of layers) { const h = high[l] * (STEP + (ROOM ? 10 : 0)); y -= h + gap; Y[l] = y; high[l] = h; }
  const at = N.map(() => [0, 0]);
  for (const [k, list] of cells) {
    const [l, p] = k.split(",").map(Number), [count, w] = wide[p], sx = w / count, sy = STEP + (ROOM ? 10 : 0);
    list.forEach((i, j) => { at[i] = [X[p] + sx * (j % count + 0.5), Y[l] + high[l] - sy * (Math.floor(j / count) + 0.5)]; });
  }
  const bounds = [0, y - 10, x + 30, 46], names = [], ticks = [];
  for (const l of layers) {
    sv("line", {class: "mtg-row", x1: 50, x2: x, y1: Y[l] + high[l] + 15, y2: Y[l] + high[l] + 15}, rows);
    const name = l < 0 ? "token" : l > data.layers - 1 && N.some(n => n.l === l && n.k === "logit") ? "output" : "L" + l;
    names.push(sv("text", {class: "mtg-axis", x: 4, y: Y[l] + high[l] / 2 + 4}, rows)); names[names.length - 1].textContent = name;
  }
  for (const p of columns) {
    const mid = X[p] + wide[p][1] / 2, word = p < 0 ? "bias" : data.tokens[p] === undefined ? String(p) : data.tokens[p].trim() || "\u2420";
    ticks.push([sv("text", {class: "mtg-axis", x: mid, y: 16, "text-anchor": "middle"}, rows), word, wide[p][1] + 14]);
    ticks.push([sv("text", {class: "mtg-axis", x: mid, y: 31, "text-anchor": "middle"}, rows), p < 0 ? "" : String(p), wide[p][1] + 14]);
  }
  // names of layers and tokens keep their size on the screen; tokens are cut to their column
  function axis(k) {
    for (const t of names) t.style.fontSize = 11 / k + "px";
    ticks.forEach(([t, word, w], i) => {
      const room = Math.floor(w * k / 6.4), cut = word.length > room ? (room > 2 ? word.slice(0, room - 1) + "\u2026" : i % 2 ? "" : word.slice(0, 1)) : word;
      if (t.textContent !== cut) t.textContent = cut;
      t.style.fontSize = 11 / k + "px"; t.setAttribute("y", (i % 2 ? 16 : 2) / k + 12);
    });
  }

  // nodes
  const groups = N.map((n, i) => {
    const g = sv("g", {class: "mtg-node " + n.k, tabindex: 0, role: "button", "aria-label": n.n}, dots);
    const square = n.k === "token" || n.k === "logit" || n.k === "bias";
    if (square) sv("rect", {class: "m", x: -R, y: -R, width: 2 * R, height: 2 * R, rx: 2}, g);
    else if (n.k === "error") sv("path", {class: "m", d: `M0 ${-R}L${R} 0L0 ${R}L${-R} 0Z`}, g);
    else sv("circle", {class: "m", r: R}, g);
    const t = sv("text", {x: R + 3, y: 3.5}, g); t.textContent = n.b;
    sv("title", {}, g).textContent = n.n + "  " + num(n.v);
    g.addEventListener("keydown", e => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); select(i); } });
    return g;
  });
  const place = i => groups[i].setAttribute("transform", `translate(${at[i][0]},${at[i][1]})`);
  N.forEach((_, i) => place(i));

  // what is shown
  let shownNode = [], shownEdge = [], chosen = -1, cut = 0;
  const shares = E.p.slice().sort((a, b) => b - a);
  const most = Math.min(m, N.length > 60 ? Math.max(250, N.length) : m);
  edgeInput.value = m ? Math.round(100 * most / m) : 100;
  function filter() {
    const count = Math.max(1, Math.round(N.length * nodeInput.value / 100));
    shownNode = new Array(N.length).fill(false); order.slice(0, count).forEach(i => { shownNode[i] = true; });
    N.forEach((n, i) => { if (n.k === "logit") shownNode[i] = true; });
    const edges = Math.round(m * edgeInput.value / 100);
    cut = edges > 0 ? shares[edges - 1] : Infinity; shownEdge = [];
    for (let j = 0; j < m; j++) if (E.p[j] >= cut && shownNode[E.s[j]] && shownNode[E.t[j]]) shownEdge.push(j);
    nodeShown.textContent = shownNode.filter(Boolean).length + " of " + N.length;
    edgeShown.textContent = shownEdge.length + " of " + (m + data.left);
  }
  function draw() {
    lines.textContent = "";
    const own = chosen < 0 ? shownEdge : [...ins[chosen], ...outs[chosen]].filter(j => shownNode[E.s[j]] && shownNode[E.t[j]])
      .sort((a, b) => E.p[b] - E.p[a]).slice(0, 120);
    const near = new Set(chosen < 0 ? [] : [chosen]); own.forEach(j => { near.add(E.s[j]); near.add(E.t[j]); });
    const full = chosen < 0 ? (own.length > 400 ? 0.22 : own.length > 60 ? 0.4 : 0.7) : 0.75;
    for (const j of own) {
      const [a, b] = at[E.s[j]], [c, d] = at[E.t[j]], bend = (b - d) * 0.4;
      const e = sv("path", {class: "mtg-edge" + (E.w[j] < 0 ? " n" : ""), d: `M${a} ${b}C${a} ${b - bend} ${c} ${d + bend} ${c} ${d}`,
        "stroke-width": 0.6 + 3.6 * Math.sqrt(Math.min(1, E.p[j])), opacity: full}, lines);
      sv("title", {}, e).textContent = N[E.s[j]].n + " \u2192 " + N[E.t[j]].n + "  " + num(E.w[j]);
    }
    groups.forEach((g, i) => {
      g.style.display = shownNode[i] ? "" : "none"; g.classList.toggle("mtg-faint", chosen >= 0 && !near.has(i));
      g.classList.toggle("on", i === chosen);
    });
    thin(near);
  }

  // labels that would cover others or nodes are left out, the most influential keep theirs
  function thin(near) {
    const k = view[2], taken = [], grid = new Map(), size = 40;
    const put = (r, list) => { for (let u = Math.floor(r[0] / size); u <= Math.floor(r[2] / size); u++) for (let v = Math.floor(r[1] / size); v <= Math.floor(r[3] / size); v++) { const key = u + "," + v; if (!grid.has(key)) grid.set(key, []); grid.get(key).push(list); } };
    const hits = (r, own) => { for (let u = Math.floor(r[0] / size); u <= Math.floor(r[2] / size); u++) for (let v = Math.floor(r[1] / size); v <= Math.floor(r[3] / size); v++) for (const o of grid.get(u + "," + v) || []) if (o[4] !== own && r[0] < o[2] && r[2] > o[0] && r[1] < o[3] && r[3] > o[1]) return true; return false; };
    N.forEach((_, i) => { if (shownNode[i]) { const r = [at[i][0] * k - R * k, at[i][1] * k - R * k, at[i][0] * k + R * k, at[i][1] * k + R * k, i]; put(r, r); } });
    const first = order.slice().sort((a, b) => (near.has(b) - near.has(a)));
    for (const i of first) {
      const t = groups[i].querySelector("text"), w = 6.4 * N[i].b.length + 2, px = at[i][0] * k + R * k + 3, py = at[i][1] * k;
      const r = [px, py - 6, px + w, py + 6, i]; const ok = shownNode[i] && !hits(r, i);
      t.style.display = ok ? "" : "none"; t.setAttribute("transform", `scale(${1 / k})`); t.setAttribute("x", R * k + 3); t.setAttribute("y", 3.5);
      if (ok) { put(r, r); taken.push(r); }
    }
  }

  // facts of one node
  function select(i) {
    chosen = i === chosen ? -1 : i; tell(); draw();
  }
  function tell() {
    side.textContent = "";
    if (chosen < 0) {
      el("h2", "", side, "Click a node");
      el("p", "", side, "Up: layers. To the right: the prompt. Lines: what a node brings to another, green adds, dashed red takes away. Drag nodes or the ground, turn the wheel to zoom.");
      const key = el("div", "mtg-key", side); key.textContent = "circle: coordinate \u00b7 diamond: error \u00b7 square: token, output, bias";
      el("h3", "", side, "largest influence"); list(order.slice(0, 12).map(j => [j, num(N[j].i), ""])); return;
    }
    const n = N[chosen]; el("h2", "", side, n.n);
    const dl = el("dl", "", side), fact = (a, b) => { el("dt", "", dl, a); el("dd", "", dl, b); };
    fact("kind", n.k); if (n.l >= 0) fact("layer", n.l); if (n.p >= 0) fact("position", n.p + (data.tokens[n.p] === undefined ? "" : "  " + JSON.stringify(data.tokens[n.p])));
    fact("value", num(n.v)); fact("influence", num(n.i)); if (n.e) fact("not shown", num(n.r));
    if (n.u) { const a = el("a", "", el("p", "", side), "page of this unit"); a.href = n.u; }
    const links = (js, end) => js.slice().sort((a, b) => Math.abs(E.w[b]) - Math.abs(E.w[a])).slice(0, 25).map(j => [end[j], (E.w[j] > 0 ? "+" : "\u2212") + num(Math.abs(E.w[j])), E.w[j] > 0 ? "pos" : "neg"]);
    el("h3", "", side, `receives from (${ins[chosen].length})`); list(links(ins[chosen], E.s));
    el("h3", "", side, `brings to (${outs[chosen].length})`); list(links(outs[chosen], E.t));
  }
  function list(items) {
    const ol = el("ol", "", side);
    for (const [i, text, cls] of items) {
      const li = el("li", "", ol); li.tabIndex = 0; el("span", "", li, N[i].n); el("span", cls, li, text);
      const go = () => { if (i !== chosen) select(i); };
      li.addEventListener("click", go); li.addEventListener("keydown", e => { if (e.key === "Enter") go(); });
    }
  }

  // moving
  let view = [0, 0, 1], held = null;
  const apply = () => { scene.setAttribute("transform", `translate(${view[0]},${view[1]}) scale(${view[2]})`); axis(view[2]); };
  function fit() {
    const w = svg.clientWidth || 900, h = svg.clientHeight || 500, [a, b, c, d] = bounds;
    const k = Math.min(w / (c - a), (h - 20) / (d - b), 2); view = [(w - k * (a + c)) / 2, (h - k * (b + d)) / 2, k]; apply(); thin(new Set());
  }
  const point = e => { const r = svg.getBoundingClientRect(); return [e.clientX - r.left, e.clientY - r.top]; };
  const fingers = new Map();
  svg.addEventListener("pointerdown", e => {
    const g = e.target.closest(".mtg-node"), i = g ? groups.indexOf(g) : -1, p = point(e);
    fingers.set(e.pointerId, p); svg.setPointerCapture(e.pointerId); held = {i, from: p, start: i >= 0 ? at[i].slice() : view.slice(), moved: false};
  });
  svg.addEventListener("pointermove", e => {
    if (!fingers.has(e.pointerId)) return;
    const p = point(e), before = fingers.get(e.pointerId);
    if (fingers.size === 2) {
      const other = [...fingers].find(([k]) => k !== e.pointerId)[1], far = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]) || 1;
      zoom(far(p, other) / far(before, other), other); fingers.set(e.pointerId, p); held = null; return;
    }
    fingers.set(e.pointerId, p); if (!held) return;
    const dx = p[0] - held.from[0], dy = p[1] - held.from[1];
    if (!held.moved && Math.hypot(dx, dy) < 4) return;
    held.moved = true;
    if (held.i >= 0) { at[held.i] = [held.start[0] + dx / view[2], held.start[1] + dy / view[2]]; place(held.i); draw(); }
    else { view = [held.start[0] + dx, held.start[1] + dy, held.start[2]]; apply(); }
  });
  const up = e => {
    fingers.delete(e.pointerId);
    if (held && !held.moved && e.type === "pointerup") { if (held.i >= 0) select(held.i); else if (chosen >= 0) select(chosen); }
    held = null;
  };
  svg.addEventListener("pointerup", up); svg.addEventListener("pointercancel", up);
  function zoom(f, c) {
    const k = Math.min(12, Math.max(0.05, view[2] * f)), r = k / view[2];
    view = [c[0] - (c[0] - view[0]) * r, c[1] - (c[1] - view[1]) * r, k]; apply(); thin(new Set());
  }
  svg.addEventListener("wheel", e => { e.preventDefault(); zoom(Math.exp(-e.deltaY * 0.0015), point(e)); }, {passive: false});
  fitButton.addEventListener("click", fit);
  filter(); fit(); draw(); tell();
  const wanted = /^#node=(\d+)$/.exec(location.hash); if (wanted && +wanted[1] < N.length) select(+wanted[1]);
}
