// Searches texts by meaning: the model encodes what is typed, and the nearest texts are those with the greatest cosine.

const HITS = 6;
const LEAST = 1e-12; // a vector of zeros is like nothing, and not 0 / 0 like it

const at = (path) => new URL(path, document.baseURI).href;
const of = (id) => document.getElementById(id);
const field = of("field");
const number = new Intl.NumberFormat("en");

let data, texts, encode;
let student, teacher; // {rows, width, inverse}: int8 vectors, and one over the length of each
let alike = null; // the text whose like is looked for, in place of what is typed

async function fetched(path) {
  const response = await fetch(at(path));
  if (!response.ok) throw new Error(`${path}: ${response.status} ${response.statusText}`);
  return response;
}

async function vectors(path, width) {
  const rows = new Int8Array(await (await fetched(path)).arrayBuffer());
  const inverse = new Float32Array(rows.length / width);
  for (let row = 0; row < inverse.length; row++) inverse[row] = 1 / length(rows.subarray(row * width, (row + 1) * width));
  return { rows, width, inverse };
}

function length(vector) {
  let squares = 0;
  for (const value of vector) squares += value * value;
  return Math.max(Math.sqrt(squares), LEAST);
}

/** The nearest texts of a vector, as {row, cosine}, the nearest first; `skip` is a text that is not looked at. */
function nearest(side, vector, skip) {
  const { rows, width, inverse } = side;
  const query = Float32Array.from(vector);
  const scale = 1 / length(query);
  const found = [];
  for (let row = 0; row < texts.length; row++) {
    if (row === skip) continue;
    let product = 0;
    for (let place = row * width, column = 0; column < width; place++, column++) product += rows[place] * query[column];
    const cosine = product * inverse[row] * scale;
    if (found.length === HITS && cosine <= found[HITS - 1].cosine) continue;
    let place = found.length;
    while (place && found[place - 1].cosine < cosine) place--;
    found.splice(place, 0, { row, cosine });
    if (found.length > HITS) found.pop();
  }
  return found;
}

const rowOf = (side, row) => side.rows.subarray(row * side.width, (row + 1) * side.width);

/** The model as a function of a text, which is loaded from this page's own folder and from nowhere else. */
async function load() {
  const { AutoModel, AutoTokenizer, LogLevel, env } = await import(at("lib/transformers.js"));
  env.logLevel = LogLevel.ERROR; // a network of potstill's own is one that it does not know, and runs all the same
  env.allowRemoteModels = false;
  env.allowLocalModels = true;
  env.localModelPath = new URL(".", document.baseURI).pathname;
  // What is kept by address would be another demo's, once that is served at the same one.
  env.useBrowserCache = false;
  env.useWasmCache = false;
  env.backends.onnx.wasm.wasmPaths = { wasm: at("lib/onnxruntime.wasm") };
  env.backends.onnx.wasm.numThreads = 1; // more take headers that a plain server does not send
  const done = {};
  const progress_callback = ({ status, file, loaded, total }) => {
    if (status !== "progress" || !total || !file.endsWith(".onnx")) return;
    const percent = Math.floor((100 * loaded) / total);
    if (done[file] !== percent) say(`Loading the model: ${(done[file] = percent)} %`);
  };
  const tokenizer = await AutoTokenizer.from_pretrained("model");
  const model = await AutoModel.from_pretrained("model", { dtype: data.dtype, progress_callback });
  return async (text) => {
    let inputs = tokenizer([data.prompt + text]);
    // Shortened by its letters: cut by its tokens, a text would lose the last one, which says that it ends.
    while (inputs.input_ids.dims[1] > data.max_length && text) {
      text = text.slice(0, Math.min(text.length - 1, Math.floor((text.length * data.max_length) / inputs.input_ids.dims[1])));
      inputs = tokenizer([data.prompt + text]);
    }
    return (await model(inputs)).sentence_embedding.data;
  };
}

const say = (words) => (of("status").textContent = words);

function element(name, words, kind) {
  const made = document.createElement(name);
  made.textContent = words;
  if (kind) made.className = kind;
  return made;
}

function show(id, found, others) {
  const items = found.map(({ row, cosine }) => {
    const [title, text] = texts[row];
    const item = document.createElement("li");
    const score = element("span", cosine.toFixed(2), "score");
    score.title = "cosine";
    item.append(score);
    const body = element("div", "", "body");
    if (title) body.append(element("b", title, "title"));
    body.append(element("p", text));
    const more = element("p", "", "more");
    const like = element("button", "more like this");
    like.type = "button";
    like.addEventListener("click", () => ask(text, row));
    like.setAttribute("aria-label", `more like this: ${(title || text).slice(0, 80)}`);
    more.append(like);
    const place = others.found.findIndex((other) => other.row === row);
    if (place >= 0) more.append(element("span", `${others.name} no. ${place + 1}`));
    body.append(more);
    item.append(body);
    return item;
  });
  of(id).querySelector("ol").replaceChildren(...items);
  of(id).hidden = false;
}

/** The teacher's own vector of what is asked, where it encoded that before this page was written. */
function taught(words) {
  if (!teacher) return null;
  if (alike !== null) return rowOf(teacher, alike);
  const known = data.questions.findIndex((question) => question === words);
  return known < 0 ? null : rowOf(teacher, texts.length + known);
}

async function answer() {
  const words = field.value.trim();
  if (!words) {
    for (const id of ["student", "teacher"]) of(id).hidden = true;
    return say(data.ready);
  }
  const started = performance.now();
  const [own, skip] = alike === null ? [await encode(words), -1] : [rowOf(student, alike), alike];
  const encoded = performance.now();
  const hits = nearest(student, own, skip);
  const spent = performance.now();
  const right = taught(words);
  const hers = right ? nearest(teacher, right, skip) : [];
  show("student", hits, { name: "the teacher’s", found: hers });
  if (teacher) {
    show("teacher", hers, { name: "the page’s", found: hits });
    of("teacher").querySelector(".hint").hidden = right !== null;
  }
  if (!performance.getEntriesByName("first result").length) performance.mark("first result");
  const parts = `${(encoded - started).toFixed(0)} to encode, ${(spent - encoded).toFixed(0)} to search`;
  say(`The nearest ${hits.length} of ${number.format(texts.length)} texts in ${(spent - started).toFixed(0)} ms${alike === null ? ` (${parts})` : ""}`);
}

// One answer at a time: what was typed meanwhile is answered afterwards, as a whole.
let busy = false;
let again = false;
async function update() {
  again = true;
  if (busy) return;
  busy = true;
  of("sides").setAttribute("aria-busy", "true");
  try {
    while (again) {
      again = false;
      await answer();
    }
  } catch (error) {
    say(`This went wrong: ${error.message}`);
  } finally {
    busy = false;
    of("sides").removeAttribute("aria-busy");
  }
}

/** Put the cursor into the field, but not where that would raise a keyboard over half the screen. */
function focus() {
  if (!matchMedia("(pointer: coarse)").matches) field.focus({ preventScroll: true });
}

function ask(words, row = null) {
  alike = row;
  field.value = words;
  focus();
  window.scrollTo({ top: 0 });
  return update();
}

function introduce() {
  const count = number.format(texts.length);
  document.title = `${data.name}: search by meaning`;
  of("heading").textContent = texts.length === 1 ? "One text, found by what it says" : `${count} texts, found by what they say`;
  of("model").textContent = data.name;
  of("student").querySelector("small").textContent = `${data.name}, ${(data.bytes / 1e6).toFixed(1)} MB, ${data.dtype === "q8" ? "int8" : "fp32"}`;
  if (data.teacher) {
    of("teacher").querySelector("small").textContent = data.teacher.name;
    of("teacher").querySelector(".hint").textContent =
      `The teacher is not on this page. It has read the texts${data.questions.length ? " and the examples" : ""} before: ` +
      `choose ${data.questions.length ? "an example, or " : ""}“more like this”, and its hits stand here.`;
    of("sides").classList.add("two");
  }
  const buttons = data.questions.map((question) => {
    const item = document.createElement("li");
    const button = element("button", question);
    button.type = "button";
    button.addEventListener("click", () => ask(question));
    item.append(button);
    return item;
  });
  of("examples").querySelector("ul").replaceChildren(...buttons);
  of("examples").hidden = !buttons.length;
}

async function start() {
  const started = performance.now();
  say("Loading the texts");
  data = await (await fetched("demo.json")).json();
  texts = data.texts;
  introduce();
  student = await vectors("vectors.bin", data.dimension);
  if (data.teacher) teacher = await vectors("teacher.bin", data.teacher.dimension);
  say("Loading the model");
  encode = await load();
  await encode("a first text"); // the first one of all takes ten times as long
  data.ready = `Ready after ${((performance.now() - started) / 1000).toFixed(1)} s. Type, and the nearest texts stand below.`;
  say(data.ready);
  field.disabled = false;
  focus();
  field.addEventListener("input", () => {
    alike = null;
    update();
  });
  document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
}

start().catch((error) => say(`This page cannot start: ${error.message}`));
