// An exported detector or segmenter as a function of an image, as mmvit/predict/runner.py has it.
import * as ort from "onnxruntime-web";

const FIELD = "mmvit"; // entry of the file's metadata that holds everything else as JSON

/** Return the session and the metadata of an ONNX file, given as a Uint8Array. */
export async function open(bytes) {
  const metadata = metadataOf(bytes);
  if (!metadata) throw new Error("no metadata of mmvit in it; expected a file that `mmvit export --to onnx` wrote");
  if (metadata.kind === "backbone") throw new Error("a backbone alone gives maps, not results; export a whole model");
  return { metadata, session: await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] }) };
}

/** Return what mmvit wrote into an ONNX file, or null: `metadata_props`, field 14 of the outermost protobuf message. */
export function metadataOf(bytes) {
  const text = new TextDecoder();
  for (const [field, value] of fieldsOf(bytes)) {
    if (field !== 14) continue;
    const entry = new Map(fieldsOf(value));
    if (text.decode(entry.get(1)) === FIELD) return JSON.parse(text.decode(entry.get(2)));
  }
  return null;
}

/** Yield number and bytes of each field of a protobuf message that has a length; numbers are passed over. */
function* fieldsOf(bytes) {
  let place = 0;
  const varint = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      if (place >= bytes.length) throw new Error("it is cut short, or no ONNX file");
      const byte = bytes[place++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (place < bytes.length) {
    const tag = varint();
    const kind = tag % 8;
    if (kind === 0) varint();
    else if (kind === 1) place += 8;
    else if (kind === 5) place += 4;
    else if (kind === 2) {
      const length = varint();
      if (place + length > bytes.length) throw new Error("it is cut short, or no ONNX file");
      yield [(tag - kind) / 8, bytes.subarray(place, place + length)];
      place += length;
    } else throw new Error("it is no ONNX file");
  }
}

/** Return { objects, masks } or { labels } of an ImageData, or of bands. Boxes and masks are in pixels of the image. */
export async function predict({ session, metadata }, image, score) {
  const { pixels, height, width } = image.bands ? resizeBands(image, metadata.scale) : resize(image, metadata.scale);
  if (metadata.size && (metadata.size[0] !== height || metadata.size[1] !== width))
    throw new Error(`${height} x ${width} pixels at the test scale, but this model takes ${metadata.size.join(" x ")} only`);
  const inputs = {
    image: () => new ort.Tensor(image.bands ? "float32" : "uint8", pixels, [1, height, width, image.bands ?? 3]),
    size: () => new ort.Tensor("int64", BigInt64Array.of(BigInt(image.height), BigInt(image.width)), [2]),
    score_threshold: () => new ort.Tensor("float32", Float32Array.of(Math.max(metadata.score_threshold, score)), []),
  };
  const found = await session.run(Object.fromEntries(metadata.inputs.map((name) => [name, inputs[name]()])));
  if (metadata.kind === "segmenter") return { labels: Uint16Array.from(found.label_map.data, Number) };
  const factors = [image.width / width, image.height / height];
  const objects = Array.from(found.scores.data, (value, index) => {
    const label = Number(found.labels.data[index]);
    const box = Array.from(found.boxes.data.subarray(4 * index, 4 * index + 4), (side, axis) => side * factors[axis % 2]);
    return { label, name: metadata.classes[label] ?? String(label), score: value, box };
  });
  return { objects, masks: masksOf(found.masks, objects, image, metadata) };
}

/** Return width and height of an image at the test scale. */
function scaled(columns, rows, rule) {
  let [width, height] = [columns, rows];
  const frame = rule && (rule.scale ?? [columns, rows].map((side, axis) => Math.floor(side * rule.scale_factor[axis] + 0.5)));
  if (rule?.keep_ratio) {
    const [short, long] = [Math.min(...frame), Math.max(...frame)];
    const factor = Math.min(long / Math.max(rows, columns), short / Math.min(rows, columns));
    [width, height] = [Math.floor(columns * factor + 0.5), Math.floor(rows * factor + 0.5)];
  } else if (rule) [width, height] = frame;
  if (Math.min(width, height) < 1) throw new Error("resizing to the test scale would leave nothing of it");
  return [width, height];
}

/** Return bands at the test scale, bilinear. */
function resizeBands({ width: columns, height: rows, bands, pixels: old }, rule) {
  const [width, height] = scaled(columns, rows, rule);
  const [down, across] = [weights(rows, height), weights(columns, width)];
  const pixels = new Float32Array(height * width * bands);
  for (let y = 0; y < height; y++) {
    const [top, bottom, lower] = [columns * down.first[y], columns * down.second[y], down.share[y]];
    for (let x = 0; x < width; x++) {
      const [left, right, later] = [across.first[x], across.second[x], across.share[x]];
      for (let band = 0; band < bands; band++) {
        const at = (place) => old[place * bands + band];
        const above = at(top + left) * (1 - later) + at(top + right) * later;
        const below = at(bottom + left) * (1 - later) + at(bottom + right) * later;
        pixels[(y * width + x) * bands + band] = above * (1 - lower) + below * lower;
      }
    }
  }
  return { pixels, height, width };
}

/** Return an image as BGR bytes at the test scale, bilinear in the fixed point of OpenCV. */
export function resize(image, rule) {
  const { width: columns, height: rows, data } = image;
  const [width, height] = scaled(columns, rows, rule);
  const [down, across] = [weights(rows, height), weights(columns, width)];
  const pixels = new Uint8Array(height * width * 3);
  for (let y = 0; y < height; y++) {
    const [top, bottom] = [4 * columns * down.first[y], 4 * columns * down.second[y]];
    const lower = Math.round(down.share[y] * 2048);
    for (let x = 0; x < width; x++) {
      const [left, right] = [4 * across.first[x], 4 * across.second[x]];
      const share = Math.round(across.share[x] * 2048);
      for (let channel = 0; channel < 3; channel++) {
        const upper = data[top + left + channel] * (2048 - share) + data[top + right + channel] * share;
        const under = data[bottom + left + channel] * (2048 - share) + data[bottom + right + channel] * share;
        const mixed = (((2048 - lower) * (upper >> 4)) >> 16) + ((lower * (under >> 4)) >> 16);
        pixels[3 * (y * width + x) + 2 - channel] = (mixed + 2) >> 2;
      }
    }
  }
  return { pixels, height, width };
}

/** Return the two pixels that each new one lies between, and the second one's share. */
function weights(old, length) {
  const [first, second, share] = [new Int32Array(length), new Int32Array(length), new Float32Array(length)];
  for (let index = 0; index < length; index++) {
    const place = Math.min(Math.max(((index + 0.5) * old) / length - 0.5, 0), old - 1);
    first[index] = Math.floor(place);
    second[index] = Math.min(first[index] + 1, old - 1);
    share[index] = place - first[index];
  }
  return { first, second, share };
}

/** Return a mask (height * width, 0 or 1) for each object, or null from a model without masks. */
function masksOf(masks, objects, { height, width }, metadata) {
  if (!masks) return null;
  if (!metadata.raw_masks) return objects.map((_, index) => masks.data.subarray(index * height * width, (index + 1) * height * width));
  const [, rows, columns] = masks.dims;
  return objects.map(({ box }, index) => {
    const raw = masks.data.subarray(index * rows * columns, (index + 1) * rows * columns);
    return paste(raw, rows, columns, box, height, width, metadata.mask_threshold);
  });
}

/** Return a mask of the image from probabilities within a box: bilinear, zero around, pixels at their centres. */
function paste(raw, rows, columns, [left, top, right, bottom], height, width, threshold) {
  const mask = new Uint8Array(height * width);
  const at = (row, column) => (row < 0 || column < 0 || row >= rows || column >= columns ? 0 : raw[row * columns + column]);
  const lastRow = Math.min(Math.ceil(bottom) + 1, height);
  const lastColumn = Math.min(Math.ceil(right) + 1, width);
  for (let y = Math.max(Math.floor(top) - 1, 0); y < lastRow; y++) {
    const v = ((y + 0.5 - top) / (bottom - top)) * rows - 0.5;
    const row = Math.floor(v);
    for (let x = Math.max(Math.floor(left) - 1, 0); x < lastColumn; x++) {
      const u = ((x + 0.5 - left) / (right - left)) * columns - 0.5;
      const column = Math.floor(u);
      const upper = at(row, column) * (column + 1 - u) + at(row, column + 1) * (u - column);
      const lower = at(row + 1, column) * (column + 1 - u) + at(row + 1, column + 1) * (u - column);
      mask[y * width + x] = upper * (row + 1 - v) + lower * (v - row) >= threshold ? 1 : 0;
    }
  }
  return mask;
}
