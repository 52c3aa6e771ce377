"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const classes = data.shared.classes;
const cells = data.shared.rows;
const byId = (id) => document.getElementById(id);

// Whatever comes from the dataset enters the page through textContent or as the source of an image: as text, never as markup.
function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

const nameOf = (code) => (code === undefined || code < 0 ? "–" : classes[code] ?? String(code));

function content(row) {
  const cell = cells[row];
  if (cell && cell.image) {
    const image = element("img");
    image.alt = `row ${row}`;
    image.loading = "lazy";
    image.addEventListener("load", () => image.classList.toggle("tiny", image.naturalWidth <= 64));
    image.src = cell.image;
    return image;
  }
  return element("blockquote", "", cell && cell.text !== undefined ? cell.text : "(not on this page)");
}

function card(row, note) {
  const made = element("figure", "row");
  made.dataset.row = row;
  made.append(content(row));
  const about = element("div", "about");
  about.append(element("span", "", `row ${row.toLocaleString("en")}`));
  if (note !== undefined) about.append(element("span", "", note));
  made.append(about);
  const cell = cells[row];
  if (cell && cell.label !== undefined) made.append(element("div", "label", nameOf(cell.label)));
  return made;
}

function fill(gallery, made) {
  gallery.replaceChildren(...made);
  gallery.classList.toggle("words", gallery.querySelector("blockquote") !== null && gallery.querySelector("img") === null);
}

// ---- theme
byId("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  if (map) map.draw();
});

// ---- galleries
for (const gallery of document.querySelectorAll("[data-gallery]")) {
  const { rows, score } = data.galleries[gallery.dataset.gallery][gallery.dataset.end];
  fill(gallery, rows.map((row, i) => card(row, String(score[i]))));
}
for (const gallery of document.querySelectorAll("[data-rows]")) {
  const [section, key] = gallery.dataset.rows.split(".");
  fill(gallery, data[section][key].map((row) => card(row)));
}
const chooser = byId("gallery-score");
if (chooser) {
  chooser.addEventListener("change", () => {
    for (const block of document.querySelectorAll("[data-score]")) block.hidden = block.dataset.score !== chooser.value;
  });
}

// ---- suspects and decisions
const decisions = new Map(); // row -> {decision, label}

function decisionBox(row, given, suggested) {
  const box = element("select");
  box.setAttribute("aria-label", `Decision on row ${row}`);
  const option = (value, text) => {
    const made = element("option", "", text);
    made.value = value;
    box.append(made);
  };
  option("", "undecided");
  option("keep", "keep: the label is right");
  option("drop", "drop the row");
  const order = suggested === undefined ? [] : [suggested];
  classes.forEach((_, code) => { if (code !== given && code !== suggested && order.length < 200) order.push(code); });
  for (const code of order) option(`fix:${code}`, `fix: ${nameOf(code)}`);
  return box;
}

function csvField(text) {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function reviewCsv() {
  const lines = ["row,given,suggested,decision"];
  for (const [row, { decision, given, label }] of [...decisions].sort((a, b) => a[0] - b[0])) {
    lines.push([String(row), nameOf(given), label === undefined ? "" : nameOf(label), decision].map(csvField).join(","));
  }
  return lines.join("\n") + "\n";
}

const suspects = document.querySelector("[data-suspects]");
if (suspects) {
  const { rows, given, suggested, suspicion, votes } = data.suspects;
  fill(suspects, rows.map((row, i) => {
    const made = card(row, suspicion[i].toFixed(3) + (votes ? `, ${votes[i]}` : ""));
    made.querySelector(".label").replaceChildren(
      element("span", "given", nameOf(given[i])),
      ...(suggested ? [document.createTextNode(" → "), element("span", "suggested", nameOf(suggested[i]))] : []),
    );
    const box = decisionBox(row, given[i], suggested ? suggested[i] : undefined);
    box.addEventListener("change", () => {
      const [decision, code] = box.value.split(":");
      if (!decision) decisions.delete(row);
      else decisions.set(row, { decision, given: given[i], label: code === undefined ? (suggested ? suggested[i] : undefined) : Number(code) });
      made.classList.toggle("is-decided", Boolean(decision));
      byId("decided").textContent = decisions.size ? `${decisions.size} decided` : "Nothing decided yet";
    });
    made.append(box);
    return made;
  }));
  const all = byId("all-suspects");
  if (all) all.addEventListener("click", () => { suspects.classList.remove("is-short"); all.remove(); });
  byId("export-review").addEventListener("click", () => {
    const link = element("a");
    link.href = URL.createObjectURL(new Blob([reviewCsv()], { type: "text/csv" }));
    link.download = "review.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
}

// ---- the data map
function makeMap() {
  const canvas = byId("map");
  if (!canvas) return null;
  const { rows, x, y, region } = data.datamap;
  if (canvas.clientWidth < 600) canvas.width = canvas.height = 420; // on a phone a smaller picture, or its words cannot be read
  const pen = canvas.getContext("2d");
  const edge = { left: 56, right: 16, top: 14, bottom: 44 };
  const widest = Math.max(0.05, ...x.map((v) => v * 1.04));
  let frame = null; // {x0, y0, x1, y1} in the map's own units
  let cursor = null; // index of the point under the mouse or the keyboard
  let visible = rows.map((_, i) => i);

  const width = () => canvas.width - edge.left - edge.right;
  const height = () => canvas.height - edge.top - edge.bottom;
  const toX = (v) => edge.left + (v / widest) * width();
  const toY = (v) => edge.top + (1 - v) * height();
  const fromX = (px) => ((px - edge.left) / width()) * widest;
  const fromY = (py) => 1 - (py - edge.top) / height();
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function drawAxes() {
    pen.strokeStyle = colour("--line");
    pen.fillStyle = colour("--soft");
    pen.font = "13px system-ui, sans-serif";
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (let v = 0; v <= 1.0001; v += 0.2) {
      pen.beginPath();
      pen.moveTo(edge.left, toY(v));
      pen.lineTo(canvas.width - edge.right, toY(v));
      pen.stroke();
      pen.fillText(v.toFixed(1), edge.left - 8, toY(v));
    }
    pen.textAlign = "center";
    for (let v = 0; v <= widest; v += 0.1) pen.fillText(v.toFixed(1), toX(v), canvas.height - edge.bottom + 14);
    pen.fillText("variability", edge.left + width() / 2, canvas.height - 10);
    pen.save();
    pen.translate(14, edge.top + height() / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText("confidence", 0, 0);
    pen.restore();
  }

  function drawPoints() {
    const colours = ["--s0", "--s8", "--s3"].map(colour);
    pen.globalAlpha = 0.55;
    for (const i of visible) {
      pen.fillStyle = colours[region[i]] ?? colour("--s7");
      pen.beginPath();
      pen.arc(toX(x[i]), toY(y[i]), 3, 0, 2 * Math.PI);
      pen.fill();
    }
    pen.globalAlpha = 1;
  }

  function draw() {
    pen.clearRect(0, 0, canvas.width, canvas.height);
    drawAxes();
    drawPoints();
    if (frame) {
      pen.strokeStyle = colour("--accent");
      pen.lineWidth = 1.5;
      pen.strokeRect(toX(frame.x0), toY(frame.y1), toX(frame.x1) - toX(frame.x0), toY(frame.y0) - toY(frame.y1));
      pen.lineWidth = 1;
    }
    if (cursor !== null) {
      pen.strokeStyle = colour("--ink");
      pen.lineWidth = 2;
      pen.beginPath();
      pen.arc(toX(x[cursor]), toY(y[cursor]), 6, 0, 2 * Math.PI);
      pen.stroke();
      pen.lineWidth = 1;
    }
  }

  function nearest(px, py, within) {
    let best = null, least = within * within;
    for (const i of visible) {
      const dx = toX(x[i]) - px, dy = toY(y[i]) - py, far = dx * dx + dy * dy;
      if (far < least) { least = far; best = i; }
    }
    return best;
  }

  function showTip(i, clientX, clientY) {
    const tip = byId("tip");
    if (i === null) { tip.hidden = true; return; }
    const cell = cells[rows[i]];
    const label = cell && cell.label !== undefined ? ` · ${nameOf(cell.label)}` : "";
    tip.replaceChildren(content(rows[i]), element("div", "", `row ${rows[i]}${label} · confidence ${y[i].toFixed(2)} · variability ${x[i].toFixed(2)}`));
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(clientX + 14, innerWidth - box.width - 4))}px`;
    tip.style.top = `${Math.max(4, Math.min(clientY + 14, innerHeight - box.height - 4))}px`;
  }

  function list() {
    const inside = frame
      ? visible.filter((i) => x[i] >= frame.x0 && x[i] <= frame.x1 && y[i] >= frame.y0 && y[i] <= frame.y1)
      : visible.length < rows.length ? visible : [];
    inside.sort((a, b) => y[a] - y[b]);
    fill(byId("map-gallery"), inside.slice(0, 48).map((i) => card(rows[i], y[i].toFixed(2))));
    byId("map-count").textContent = inside.length ? `${inside.length.toLocaleString("en")} rows${inside.length > 48 ? ", the 48 of lowest confidence below" : ""}` : "";
  }

  function filter() {
    const wanted = byId("map-region").value;
    const kind = byId("map-class") ? byId("map-class").value : "";
    visible = rows.map((_, i) => i).filter((i) => (wanted === "" || region[i] === Number(wanted)) && (kind === "" || (cells[rows[i]] || {}).label === Number(kind)));
    cursor = null;
    draw();
    list();
  }

  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * canvas.width, ((event.clientY - box.top) / box.height) * canvas.height];
  };
  let start = null;
  canvas.addEventListener("pointerdown", (event) => { start = place(event); canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    const [px, py] = place(event);
    if (start && Math.hypot(px - start[0], py - start[1]) > 4) {
      frame = {
        x0: fromX(Math.min(px, start[0])), x1: fromX(Math.max(px, start[0])),
        y0: fromY(Math.max(py, start[1])), y1: fromY(Math.min(py, start[1])),
      };
      showTip(null);
    } else {
      cursor = nearest(px, py, 18);
      showTip(cursor, event.clientX, event.clientY);
    }
    draw();
  });
  canvas.addEventListener("pointerup", (event) => {
    const [px, py] = place(event);
    if (start && Math.hypot(px - start[0], py - start[1]) <= 4) frame = null;
    start = null;
    draw();
    list();
  });
  canvas.addEventListener("pointercancel", () => { start = null; });
  canvas.addEventListener("pointerleave", () => { if (!start) { cursor = null; showTip(null); draw(); } });
  canvas.addEventListener("blur", () => showTip(null));
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (step) {
      event.preventDefault();
      walk(step);
    } else if (event.key === "Enter" && cursor !== null) {
      frame = { x0: x[cursor] - 0.03 * widest, x1: x[cursor] + 0.03 * widest, y0: y[cursor] - 0.03, y1: y[cursor] + 0.03 };
      draw();
      list();
    } else if (event.key === "Escape") {
      frame = null; cursor = null;
      showTip(null); draw(); list();
    }
  });

  function walk([dx, dy]) {
    if (cursor === null) cursor = nearest(edge.left + width() / 2, edge.top + height() / 2, Infinity);
    else {
      const fromPx = toX(x[cursor]), fromPy = toY(y[cursor]);
      let best = null, least = Infinity;
      for (const i of visible) {
        const along = (toX(x[i]) - fromPx) * dx + (toY(y[i]) - fromPy) * dy;
        const across = Math.abs((toX(x[i]) - fromPx) * dy) + Math.abs((toY(y[i]) - fromPy) * dx);
        if (along > 2 && along + 3 * across < least) { least = along + 3 * across; best = i; }
      }
      if (best !== null) cursor = best;
    }
    draw();
    if (cursor === null) return;
    const box = canvas.getBoundingClientRect();
    showTip(cursor, box.left + (toX(x[cursor]) / canvas.width) * box.width, box.top + (toY(y[cursor]) / canvas.height) * box.height);
  }

  byId("map-region").addEventListener("change", filter);
  if (byId("map-class")) byId("map-class").addEventListener("change", filter);
  byId("map-clear").addEventListener("click", () => {
    byId("map-region").value = "";
    if (byId("map-class")) byId("map-class").value = "";
    frame = null;
    filter();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
  return { draw };
}
const map = makeMap();
