// The page: files in, a drawn image and a legend out.
import { isTiff, readBands, visible } from "./bands.js";
import { open, predict } from "./model.js";

const element = (id) => document.getElementById(id);
const [drop, files, score, least, status, legend, canvas] = ["drop", "files", "score", "least", "status", "legend", "canvas"].map(element);
let model = null;
let picture = null; // the last image: its file, and what the model reads of it

/** Say what happens; errors stay until the next words. */
function say(words, error = false) {
  status.textContent = words;
  status.classList.toggle("error", error);
}

/** Take files in turn, models first: an image that comes with its model is for that model. */
async function take(list) {
  const sorted = [...list].sort((one, other) => isModel(other) - isModel(one));
  for (const file of sorted) {
    try {
      if (isModel(file)) await takeModel(file);
      else picture = { file, data: isTiff(file.name) ? null : await pixelsOf(file) };
    } catch (error) {
      say(`${file.name}: ${error.message}`, true);
      return;
    }
  }
  await show();
}

const isModel = (file) => file.name.endsWith(".onnx");

async function takeModel(file) {
  say(`${file.name} is being opened ...`);
  model = null;
  model = await open(new Uint8Array(await file.arrayBuffer()));
  say(`${file.name}: ${model.metadata.kind} of ${model.metadata.config}, ${model.metadata.classes.length} classes. Drop an image.`);
}

/** Return what the model reads of an image: an ImageData, or normalised bands. */
async function readingOf({ file, data }) {
  const { bands } = model.metadata;
  if (!bands && data) return data;
  if (!bands) throw new Error("a TIFF file, which browsers do not show, and the model was trained on pictures. Save it as PNG");
  if (data) throw new Error(`a picture, but the model reads TIFF files with ${bands.mean.length} bands, as it was trained with`);
  return readBands(await file.arrayBuffer(), bands);
}

/** Return the pixels of an opaque image file, turned as EXIF says, without a conversion of colours, as OpenCV reads it. */
async function pixelsOf(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
  } catch {
    throw new Error("the browser cannot read it. Expected a JPEG, PNG, WebP or TIFF image, or a model that ends in .onnx");
  }
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const pixels = context.getImageData(0, 0, bitmap.width, bitmap.height);
  for (let alpha = 3; alpha < pixels.data.length; alpha += 4)
    if (pixels.data[alpha] < 255) // a canvas keeps colours multiplied by alpha
      throw new Error("it is transparent in places, where a browser loses the colours that the model is to see. Save it without transparency");
  return pixels;
}

async function show() {
  if (!picture) return;
  const { name } = picture.file;
  if (!model) return say(`${name}: drop a model, too`);
  say(`${name} ...`);
  await new Promise(requestAnimationFrame); // the words appear before the network computes
  const start = performance.now();
  try {
    if (picture.model !== model) picture = { ...picture, model, reading: await readingOf(picture) };
    const data = picture.reading;
    const found = await predict(model, data, Number(score.value));
    draw(data.bands ? visible(data) : data, found);
    const what = found.labels ? "labelled" : `${found.objects.length} objects`;
    say(`${name}: ${what}, ${data.width} x ${data.height} pixels, ${((performance.now() - start) / 1000).toFixed(2)} s`);
    globalThis.result = { name, ...found }; // for scripts and tests
  } catch (error) {
    say(`${name}: ${error.message}`, true);
  }
}

/** Return red, green, blue of a class: the dataset's colour, or one that depends on the number alone. */
function colour(label) {
  if (model.metadata.palette[label]) return model.metadata.palette[label];
  const hue = (label * 0.618034) % 1;
  return [5, 3, 1].map((offset) => {
    const part = (offset + hue * 6) % 6;
    return Math.round(242 * (1 - 0.75 * Math.max(0, Math.min(part, 4 - part, 1))));
  });
}

function draw(image, { objects, masks, labels }) {
  const pixels = new ImageData(new Uint8ClampedArray(image.data), image.width, image.height);
  const tint = (place, label) => colour(label).forEach((part, channel) => {
    pixels.data[4 * place + channel] = (pixels.data[4 * place + channel] + part) / 2;
  });
  const around = model.metadata.classes.findIndex((name) => /^_*background_*$/i.test(name)); // as in mmvit/data/colours.py
  labels?.forEach((label, place) => label !== around && tint(place, label));
  masks?.forEach((mask, index) => mask.forEach((inside, place) => inside && tint(place, objects[index].label)));
  [canvas.width, canvas.height] = [image.width, image.height];
  const context = canvas.getContext("2d");
  context.putImageData(pixels, 0, 0);
  const side = Math.max(image.width, image.height); // widths and heights as in mmvit/predict/drawing.py
  const letters = Math.max(11, Math.round(side / 48));
  context.lineWidth = Math.max(1, Math.round(side / 350));
  context.font = `${letters}px sans-serif`;
  context.textBaseline = "bottom";
  for (const { label, box } of [...(objects ?? [])].reverse()) {
    context.strokeStyle = `rgb(${colour(label)})`;
    context.strokeRect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
  }
  const taken = [];
  for (const { label, name, score: value, box } of objects ?? []) {
    const words = ` ${name} ${value.toFixed(2)} `;
    const plate = placed(box, context.measureText(words).width, letters + 4, image, objects, taken);
    if (!plate) continue; // a crowd: the legend names the class
    taken.push(plate);
    context.fillStyle = `rgb(${colour(label)})`;
    context.fillRect(plate[0], plate[1], plate[2] - plate[0], plate[3] - plate[1]);
    const [red, green, blue] = colour(label);
    context.fillStyle = 0.299 * red + 0.587 * green + 0.114 * blue > 140 ? "black" : "white";
    context.fillText(words, plate[0], plate[3] - 2);
  }
  describe(labels ?? objects.map(({ label }) => label), labels ? (count) => `${Math.round((100 * count) / labels.length)} %` : String);
}

/** Return the corners of a name where it covers no other name and at most a fifth of any object; undefined in a crowd. */
function placed([left, top, right, bottom], wide, tall, image, objects, taken) {
  const corners = [[left, top - tall], [left, bottom], [right - wide, top - tall], [right - wide, bottom], [left, top]];
  return corners
    .map(([x, y]) => [clipped(x, image.width - wide), clipped(y, image.height - tall)])
    .map(([x, y]) => [x, y, x + wide, y + tall])
    .find((plate) => !taken.some((other) => shared(plate, other)) && objects.every(({ box }) => shared(plate, box) <= 0.2 * shared(box, box)));
}

const clipped = (value, most) => Math.min(Math.max(value, 0), Math.max(most, 0));

/** Return the area that two boxes have in common. */
function shared(one, other) {
  const wide = Math.min(one[2], other[2]) - Math.max(one[0], other[0]);
  const tall = Math.min(one[3], other[3]) - Math.max(one[1], other[1]);
  return Math.max(wide, 0) * Math.max(tall, 0);
}

/** List the classes that were found, the most frequent first. */
function describe(found, words) {
  const counts = new Map();
  for (const label of found) counts.set(label, (counts.get(label) ?? 0) + 1);
  const sorted = [...counts].sort((one, other) => other[1] - one[1]).slice(0, 12);
  legend.replaceChildren(...sorted.map(([label, count]) => {
    const [entry, mark] = [document.createElement("span"), document.createElement("i")];
    mark.style.background = `rgb(${colour(label)})`;
    entry.append(mark, `${model.metadata.classes[label] ?? label} ${words(count)}`); // text, never HTML: the file is a stranger's
    return entry;
  }));
}

files.addEventListener("change", () => take(files.files));
score.addEventListener("change", show);
score.addEventListener("input", () => (least.textContent = Number(score.value).toFixed(2)));
for (const name of ["dragover", "dragleave", "drop"])
  document.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover");
    if (name === "drop") take(event.dataTransfer.files);
  });
