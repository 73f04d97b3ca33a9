// The paper's experiment in the browser: a position goes into two networks, and each paints its image.
// benchmarks/browser.py writes the networks and networks.json, which describes them.

const SCALE = 6; // pixels of a picture for each pixel of the canvas, so that lines are finer than pixels
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const root = document.getElementById("experiment");

/** Return a new element with properties and children. */
function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** Replace the experiment by a sentence. */
function show(sentence, state) {
  root.dataset.state = state;
  root.replaceChildren(element("p", { className: "experiment-message", textContent: sentence }));
  root.firstChild.setAttribute("role", "status");
}

/** Return a file of this folder, or throw an error that names it. */
async function load(name) {
  const response = await fetch(new URL(name, import.meta.url));
  if (!response.ok) throw new Error(`${name}: the server answered ${response.status}`);
  return response;
}

/** Return the colours of the site's scheme, red, green and blue from 0 to 255. */
function colours() {
  const style = getComputedStyle(root);
  const read = (name) => {
    const hex = style.getPropertyValue(name).trim().slice(1);
    return [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16));
  };
  return { paint: read("--paint"), target: read("--target"), paper: read("--paper"), grey: read("--grey") };
}

const rgb = (colour) => `rgb(${colour.join(" ")})`;

/** Draw probabilities (one for each pixel, or none), the quadrant that was never trained, and the chosen pixel. */
function draw(canvas, page, probability, chosen) {
  const { paint, target, paper, grey } = colours();
  const size = page.canvas;
  const context = canvas.getContext("2d");
  context.fillStyle = rgb(paper);
  context.fillRect(0, 0, canvas.width, canvas.height);
  const [first, last] = page.held_out;
  const corner = first * SCALE;
  const side = (last - first + 1) * SCALE;
  hatch(context, corner, side, rgb(grey));
  if (probability) {
    const peak = probability.reduce((a, b) => Math.max(a, b), 0);
    context.fillStyle = rgb(paint);
    for (let i = 0; i < probability.length; i += 1) {
      context.globalAlpha = Math.sqrt(probability[i] / peak);
      if (context.globalAlpha > 0.02) context.fillRect((i % size) * SCALE, Math.floor(i / size) * SCALE, SCALE, SCALE);
    }
    context.globalAlpha = 1;
  }
  context.strokeStyle = rgb(grey);
  context.lineWidth = 2;
  context.setLineDash([8, 6]);
  context.strokeRect(corner, corner, side, side);
  context.setLineDash([]);
  if (!probability) {
    context.font = "18px sans-serif";
    context.fillStyle = rgb(grey);
    context.fillText("never trained", corner, corner - 8);
  }
  context.strokeStyle = rgb(target);
  context.lineWidth = 3;
  context.strokeRect(chosen.x * SCALE - 4.5, chosen.y * SCALE - 4.5, SCALE + 9, SCALE + 9);
}

/** Fill a square with thin diagonal lines. */
function hatch(context, corner, side, colour) {
  context.save();
  context.beginPath();
  context.rect(corner, corner, side, side);
  context.clip();
  context.strokeStyle = colour;
  context.globalAlpha = 0.35;
  context.lineWidth = 1;
  for (let offset = 0; offset < 2 * side; offset += 12) {
    context.beginPath();
    context.moveTo(corner + offset, corner);
    context.lineTo(corner + offset - side, corner + side);
    context.stroke();
  }
  context.restore();
}

/** Say to which part of the data a position belongs. */
function part(page, { x, y }) {
  const within = ([low, high]) => [x, y].every((value) => value >= low && value <= high);
  if (within(page.held_out)) return "in the quadrant that was never trained";
  return within(page.positions) ? "a training position" : "outside the positions of the data";
}

/** Say what a network painted. */
function result(probability, page, chosen) {
  const peak = probability.indexOf(probability.reduce((a, b) => Math.max(a, b), 0));
  const [x, y] = [peak % page.canvas, Math.floor(peak / page.canvas)];
  const distance = Math.hypot(x - chosen.x, y - chosen.y);
  const share = `${(100 * probability[peak]).toFixed(0)} %`;
  const verdict = distance === 0 ? "Right" : `Wrong by ${distance.toFixed(1)} pixels`;
  return { x, y, correct: distance === 0, text: `${verdict}: most probable pixel (${x}, ${y}), ${share}.` };
}

/** Say what the export measured of a network. */
function facts(network) {
  const percent = (value) => `${(100 * value).toFixed(1)} %`;
  return (
    `${network.weights.toLocaleString("en")} weights, ${network.cpu_seconds} s of training on one core. ` +
    `Right at ${percent(network.train_accuracy)} of the training positions and ` +
    `${percent(network.held_out_accuracy)} of those never trained.`
  );
}

/** Build a figure with a canvas. */
function panel(title, size, ...below) {
  const canvas = element("canvas", { width: size * SCALE, height: size * SCALE });
  return { canvas, figure: element("figure", {}, element("figcaption", { textContent: title }), canvas, ...below) };
}

/** Build the number input of a coordinate. */
function field(name, size) {
  const input = element("input", { type: "number", min: 0, max: size - 1, step: 1, inputMode: "numeric" });
  return { input, label: element("label", {}, `${name} `, input) };
}

/** Load the networks, and build the page around them. */
async function start() {
  show("Loading onnxruntime and the two networks ...", "loading");
  const page = await (await load("networks.json")).json();
  const ort = await import("./onnxruntime-web/ort.wasm.bundle.min.mjs");
  ort.env.wasm.numThreads = 1; // threads need headers that static servers do not send
  ort.env.wasm.wasmPaths = { wasm: new URL("onnxruntime-web/ort-wasm-simd-threaded.wasm", import.meta.url).href };
  const sessions = [];
  for (const network of page.networks) {
    const model = new Uint8Array(await (await load(network.file)).arrayBuffer());
    sessions.push(await ort.InferenceSession.create(model, { executionProviders: ["wasm"] }));
  }
  const size = page.canvas;
  const chosen = { x: 16, y: 16 };

  const [fieldX, fieldY] = [field("x", size), field("y", size)];
  const where = element("p", { className: "experiment-result" });
  const picker = panel("Choose a pixel", size, element("div", { className: "experiment-controls" }, fieldX.label, fieldY.label), where);
  picker.canvas.tabIndex = 0;
  picker.canvas.setAttribute("role", "application");
  picker.canvas.setAttribute(
    "aria-label",
    `Canvas of ${size} by ${size} pixels. The arrow keys move the chosen pixel, with Shift by eight.`,
  );
  const painters = page.networks.map((network, i) => {
    const text = element("p", { className: "experiment-result" });
    const made = panel(network.name, size, text, element("p", { className: "experiment-facts", textContent: facts(network) }));
    made.canvas.setAttribute("role", "img");
    return { ...made, text, network, session: sessions[i], probability: null };
  });
  where.setAttribute("aria-live", "polite");
  root.replaceChildren(element("div", { className: "experiment-panels" }, picker.figure, ...painters.map(({ figure }) => figure)));

  function redraw() {
    draw(picker.canvas, page, null, chosen);
    for (const painter of painters) if (painter.probability) draw(painter.canvas, page, painter.probability, chosen);
  }

  let running = false;
  let pending = false;

  /** Run both networks on the chosen pixel; a pixel that is chosen meanwhile is run next. */
  async function paint() {
    pending = true;
    if (running) return;
    running = true;
    try {
      while (pending) {
        pending = false;
        const { x, y } = chosen;
        for (const painter of painters) {
          const scaled = Float32Array.of((2 * x) / (size - 1) - 1, (2 * y) / (size - 1) - 1);
          const output = await painter.session.run({ xy: new ort.Tensor("float32", scaled, [1, 2]) });
          painter.probability = output.probability.data;
          const found = result(painter.probability, page, { x, y });
          painter.text.textContent = found.text;
          painter.canvas.setAttribute("aria-label", `${painter.network.name}. ${found.text}`);
          Object.assign(painter.figure.dataset, { x: found.x, y: found.y, correct: found.correct });
        }
        where.textContent = `(${x}, ${y}): ${part(page, chosen)}. ${painters.map((p) => `${p.network.name}: ${p.figure.dataset.correct === "true" ? "right" : "wrong"}`).join("; ")}.`;
        Object.assign(root.dataset, { x, y });
        redraw();
      }
    } catch (error) {
      show(`A network could not be run: ${error.message}`, "failed");
      throw error;
    } finally {
      running = false;
    }
  }

  function choose(x, y) {
    const clamp = (value) => Math.min(size - 1, Math.max(0, Math.floor(value)));
    Object.assign(chosen, { x: clamp(x), y: clamp(y) });
    fieldX.input.value = chosen.x;
    fieldY.input.value = chosen.y;
    redraw();
    return paint();
  }

  for (const { canvas } of [picker, ...painters]) {
    const point = (event) => {
      const box = canvas.getBoundingClientRect();
      choose(((event.clientX - box.left) / box.width) * size, ((event.clientY - box.top) / box.height) * size);
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      point(event);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.buttons) point(event);
    });
  }
  picker.canvas.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const cells = event.shiftKey ? 8 : 1;
    choose(chosen.x + cells * step[0], chosen.y + cells * step[1]);
  });
  for (const { input } of [fieldX, fieldY]) {
    input.addEventListener("change", () => {
      if (input.value !== "") choose(Number(fieldX.input.value), Number(fieldY.input.value));
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  await choose(chosen.x, chosen.y);
  root.dataset.state = "ready";
}

start().catch((error) => {
  show(`The experiment cannot run in this browser: ${error.message}`, "failed");
  console.error(error);
});
