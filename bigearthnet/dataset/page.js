
"use strict";
const SIDE = 120, PER_PAGE = 24;
const COLOURS = ["#8a8f96", "#e6550d", "#3182bd", "#31a354", "#756bb1", "#c51b8a", "#b8860b", "#17a2b8", "#d62728", "#5d7a00", "#7f4f24"];
const data = JSON.parse(document.getElementById("data").textContent);
const get = id => document.getElementById(id);
const number = value => value.toLocaleString("en");
const entryOf = new Map(data.classes.map((entry, i) => [entry.value, i]));
const links = new Map();  // presigned links by file name

/** Make an element with attributes and children; text stays text. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function draw(name, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

// Where patches come from: those in this page, or all by the index and the zips.

const bytesOf = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));

const embedded = {
  perPage: data.pairs.length,
  count: data.pairs.length,
  tile: i => data.pairs[i].tile,
  id: i => data.pairs[i].id,
  place: i => data.pairs[i].place,
  has: (i, position) => data.pairs[i].classes.includes(position),
  read: async (i, kind) => bytesOf(data.pairs[i].pictures[kind]),
};

async function ask(name, range, signal) {
  const headers = range ? { Range: `bytes=${range[0]}-${range[1] - 1}` } : {};
  const answer = await fetch(links.get(name) ?? name, { headers, signal });
  if (answer.status !== (range ? 206 : 200)) {
    answer.body?.cancel();
    throw new Error(answer.ok ? `the server does not send ranges of ${name}` : `the server answered ${answer.status} for ${name}`);
  }
  return new Uint8Array(await answer.arrayBuffer());
}

async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Read browse.bin, whose planes are described in bigearthnet/dataset/index.py. */
async function readIndex() {
  const all = await inflate(await ask(data.index)), count = data.patches;
  if (all.length !== count * (7 + Math.ceil(data.classes.length / 8))) {
    throw new Error(`${data.index} belongs to another dataset. Load this page again`);
  }
  const plane = k => all.subarray(k * count, (k + 1) * count);
  const [columns, rows, places] = [plane(0), plane(1), plane(2)], tiles = new Uint16Array(count), firsts = [];
  let first = 0;
  data.tiles.forEach((tile, t) => {
    firsts.push(first);
    tiles.fill(t, first, first + tile.patches);
    for (let i = first + 1; i < first + tile.patches; i++) rows[i] += rows[i - 1];
    first += tile.patches;
  });
  const size = (i, kind) => plane(3 + 2 * kind)[i] + 256 * plane(4 + 2 * kind)[i];
  const two = n => String(n).padStart(2, "0");
  const id = i => `${data.tiles[tiles[i]].name}_${two(columns[i])}_${two(rows[i])}`;
  return {
    perPage: PER_PAGE,
    count,
    id,
    tile: i => tiles[i],
    place: i => places[i],
    has: (i, position) => plane(7 + (position >> 3))[i] >> (position & 7) & 1,
    read: async (i, kind, signal) => {
      const zip = data.zips[kind], between = zip.between + id(i).length;
      let start = data.tiles[tiles[i]].starts[kind] + between;
      for (let j = firsts[tiles[i]]; j < i; j++) start += size(j, kind) + between;
      return ask(zip.name, [start, start + size(i, kind)], signal);
    },
  };
}

// Pictures.

async function drawImage(canvas, bytes) {
  const bitmap = await createImageBitmap(new Blob([bytes]));
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
}

/** Decode a mask: grey, 8 or 16 bits, each row minus the one above. A canvas would drop 8 of 16 bits. */
async function decodeMask(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset), wide = view.getUint8(24) / 8, width = SIDE * wide;
  const compressed = bytes.subarray(41, 41 + view.getUint32(33));  // the one IDAT chunk follows IHDR
  const raw = await inflate(compressed), values = new Uint16Array(SIDE * SIDE);
  let above = new Uint8Array(width);
  for (let y = 0; y < SIDE; y++) {
    if (raw[y * (width + 1)] !== 2) throw new Error("the mask is not one of this dataset. Load this page again");
    const row = raw.subarray(y * (width + 1) + 1, (y + 1) * (width + 1));
    for (let x = 0; x < width; x++) row[x] += above[x];
    for (let x = 0; x < SIDE; x++) values[y * SIDE + x] = wide === 2 ? 256 * row[2 * x] + row[2 * x + 1] : row[x];
    above = row;
  }
  return values;
}

async function drawMask(canvas, bytes) {
  const values = await decodeMask(bytes), pixels = new ImageData(SIDE, SIDE);
  values.forEach((value, i) => pixels.data.set([...(data.classes[entryOf.get(value)]?.colour ?? [0, 0, 0]), 255], 4 * i));
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  canvas.addEventListener("pointermove", event => {
    const at = edge => Math.min(SIDE - 1, Math.max(0, Math.floor(edge * SIDE / canvas.clientWidth)));
    canvas.title = data.classes[entryOf.get(values[at(event.offsetY) * SIDE + at(event.offsetX)])]?.name ?? "";
  });
}

const swatch = colour => {
  const box = make("span", { class: "swatch" });
  box.style.background = colour;
  return box;
};
const rgb = colour => `rgb(${colour.join(" ")})`;

function figure(i, signal) {
  const id = source.id(i), place = source.place(i), [, , day] = id.split("_");
  const canvases = ["Image", "Mask"].map(what => make("canvas", { width: SIDE, height: SIDE, role: "img", "aria-label": `${what} of ${id}` }));
  const facts = [data.countries[(place >> 2) - 1]?.name, data.splits[(place & 3) - 1]?.name, `${day.slice(0, 4)}-${day.slice(4, 6)}-${day.slice(6, 8)}`];
  const keys = make("ul", { class: "keys" });
  data.classes.forEach((entry, position) => {
    if (source.has(i, position)) keys.append(make("li", {}, swatch(rgb(entry.colour)), entry.name));
  });
  const caption = make("figcaption", {}, make("code", {}, id), make("br"), facts.filter(Boolean).join(", "), keys);
  [drawImage, drawMask].forEach(async (show, kind) => {
    try {
      await show(canvases[kind], await source.read(i, kind, signal));
      canvases[kind].dataset.drawn = "yes";
    } catch (error) {
      if (!signal.aborted) tell(`Cannot show ${id}: ${error.message}.`);
    }
  });
  return make("figure", { "data-id": id }, make("div", { class: "pictures" }, ...canvases), caption);
}

// What is chosen, and what is shown of it.

let source = embedded, found = [], page = 0, loading = new AbortController();

function tell(text) {
  get("where").textContent = text;
}

function search() {
  const [position, split, country] = ["class", "split", "country"].map(id => get(id).value);
  const query = get("query").value.trim().toLowerCase();
  const named = data.tiles.map(tile => tile.name.toLowerCase().includes(query));
  found = [];
  for (let i = 0; i < source.count; i++) {
    const place = source.place(i);
    if (split && (place & 3) !== +split) continue;
    if (country && place >> 2 !== +country) continue;
    if (position && !source.has(i, +position)) continue;
    if (!named[source.tile(i)] && !source.id(i).toLowerCase().includes(query)) continue;
    found.push(i);
  }
  show(0);
  drawMap(+country);
  for (const button of document.querySelectorAll("button[data-for]")) {
    button.setAttribute("aria-pressed", get(button.dataset.for).value === button.dataset.value);
  }
}

function show(wanted) {
  const pages = Math.max(1, Math.ceil(found.length / source.perPage));
  page = Math.min(Math.max(wanted, 0), pages - 1);
  loading.abort();
  loading = new AbortController();
  const { signal } = loading;
  get("pairs").replaceChildren(...found.slice(page * source.perPage, (page + 1) * source.perPage).map(i => figure(i, signal)));
  get("page").value = page + 1;
  get("page").max = pages;
  get("pages").textContent = `of ${number(pages)}`;
  get("previous").disabled = page === 0;
  get("next").disabled = page === pages - 1;
  get("count").textContent = `${number(found.length)} of ${number(source.count)} patches`;
}

function choose(id, value) {
  get(id).value = get(id).value === value ? "" : value;
  search();
}

/** A button that sets a filter, or clears it again. */
function chooser(id, value, ...children) {
  const button = make("button", { type: "button", class: "plain", "data-for": id, "data-value": value }, ...children);
  button.addEventListener("click", () => choose(id, value));
  return button;
}

// The map: longitudes are shortened by the cosine of the middle latitude.

function drawMap(country) {
  const all = data.tiles.filter(tile => tile.corners.length);
  const inside = all.filter(tile => !country || tile.country === country), shown = inside.length ? inside : all;
  if (!shown.length) return;
  const lons = shown.flatMap(tile => tile.corners.map(([lon]) => lon)), lats = shown.flatMap(tile => tile.corners.map(([, lat]) => lat));
  const [west, east] = [Math.min(...lons) - 1, Math.max(...lons) + 1], [south, north] = [Math.min(...lats) - 1, Math.max(...lats) + 1];
  const squeeze = Math.cos((south + north) / 2 * Math.PI / 180), width = (east - west) * squeeze, height = north - south;
  const x = lon => ((lon - west) * squeeze).toFixed(3), y = lat => (north - lat).toFixed(3);
  const map = get("map"), unit = 13 * Math.max(width / map.clientWidth, height / (.75 * innerHeight)), step = Math.max(width, height) > 12 ? 5 : 1;
  map.setAttribute("viewBox", `0 0 ${width.toFixed(3)} ${height.toFixed(3)}`);
  map.replaceChildren();
  for (let lon = Math.ceil(west / step) * step; lon <= east; lon += step) {
    map.append(draw("line", { x1: x(lon), x2: x(lon), y1: 0, y2: height }));
    map.append(draw("text", { x: x(lon), y: height - unit / 2, "font-size": unit, "text-anchor": "middle" }, `${Math.abs(lon)}° ${lon < 0 ? "W" : "E"}`));
  }
  for (let lat = Math.ceil(south / step) * step; lat <= north; lat += step) {
    map.append(draw("line", { y1: y(lat), y2: y(lat), x1: 0, x2: width }));
    map.append(draw("text", { x: unit / 2, y: y(lat), "font-size": unit }, `${Math.abs(lat)}° ${lat < 0 ? "S" : "N"}`));
  }
  const squares = new Map();  // tiles of several days lie upon each other
  for (const tile of shown) {
    const code = tile.name.split("_").pop();
    squares.set(code, [...(squares.get(code) ?? []), tile]);
  }
  for (const [code, tiles] of squares) {
    const [tile] = tiles, patches = tiles.reduce((sum, { patches }) => sum + patches, 0);
    const name = `${code}, ${data.countries[tile.country - 1]?.name ?? "country not known"}, ${number(patches)} patches, ${tiles.map(tile => tile.name).join(" ")}`;
    const outline = draw("polygon", {
      points: tile.corners.map(([lon, lat]) => `${x(lon)},${y(lat)}`).join(" "),
      fill: COLOURS[tile.country], stroke: COLOURS[tile.country], tabindex: 0, role: "button", "aria-label": name,
    });
    outline.append(draw("title", {}, name));
    const pick = () => { choose("query", code); get("filters").scrollIntoView(); };
    outline.addEventListener("click", pick);
    outline.addEventListener("keydown", event => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pick(); }
    });
    map.append(outline);
  }
}

function drawClasses() {
  const parts = data.splits.filter(split => split.patches).map(split => split.name);
  const columns = parts.length ? parts : ["all"];
  const pixels = columns.map(part => data.classes.reduce((sum, entry) => sum + entry.pixels[part], 0));
  const shares = data.classes.map(entry => columns.map((part, k) => entry.pixels[part] / pixels[k] || 0));
  const largest = Math.max(...shares.flat());
  const body = make("tbody");
  data.classes.forEach((entry, position) => {
    if (!entry.pixels.all) return;
    const name = make("th", { scope: "row" }, chooser("class", String(position), swatch(rgb(entry.colour)), `${entry.value} ${entry.name}`));
    body.append(make("tr", {}, name, ...shares[position].map(share => {
      const bar = make("div", { class: "bar" });
      bar.style.width = `${100 * share / largest}%`;
      return make("td", {}, `${(100 * share).toFixed(2)} %`, bar);
    })));
  });
  const head = make("tr", {}, make("th", { scope: "col" }, "class"), ...columns.map(part => make("th", { scope: "col" }, part)));
  get("classes").append(make("thead", {}, head), body);
}

function fillFilters() {
  data.classes.forEach((entry, i) => entry.pixels.all && get("class").append(make("option", { value: i }, entry.name)));
  for (const [id, entries] of [["split", data.splits], ["country", data.countries]]) {
    entries.forEach((entry, i) => {
      if (entry.patches) get(id).append(make("option", { value: i + 1 }, `${entry.name} (${number(entry.patches)})`));
    });
  }
  data.countries.forEach(({ name, patches }, i) => {
    if (patches) get("countries").append(make("li", {}, chooser("country", String(i + 1), swatch(COLOURS[i + 1]), name)));
  });
}

async function browse() {
  get("browse").disabled = true;
  tell(`Reading ${data.index} ...`);
  try {
    for (const [url] of get("links").value.matchAll(/https?:\/\/\S+/g)) {
      links.set(decodeURIComponent(new URL(url).pathname.split("/").pop()), url);
    }
    source = await readIndex();
    tell("Patches are read from the zips.");
    get("browse").hidden = get("linked").hidden = true;
    search();
  } catch (error) {
    get("browse").disabled = false;
    get("linked").open = true;
    tell(`Cannot read the other files of the dataset: ${error.message}. They have to be beside this page on a server that sends ranges (bigearthnet browse), or be given by their links.`);
  }
}

function start() {
  const local = location.protocol === "file:", more = data.patches > embedded.count;
  get("facts").textContent = `${number(data.patches)} patches in ${number(data.tiles.length)} tiles. This page holds ${number(embedded.count)} of them, which show each class among others.`;
  get("browse").textContent = `Browse all ${number(data.patches)} patches`;
  get("browse").hidden = get("linked").hidden = local;
  if (local && more) tell(`To browse all ${number(data.patches)} patches, run "bigearthnet browse" with the folder of this file.`);
  get("browse").addEventListener("click", browse);
  get("form").addEventListener("input", search);
  get("form").addEventListener("submit", event => event.preventDefault());
  get("form").addEventListener("reset", () => setTimeout(search));
  get("previous").addEventListener("click", () => show(page - 1));
  get("next").addEventListener("click", () => show(page + 1));
  get("page").addEventListener("change", () => show(get("page").value - 1));
  fillFilters();
  drawClasses();
  search();
}

start();
