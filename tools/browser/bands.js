// TIFF files with many bands, read as mmvit/data/tiff.py reads them. geotiff.js decodes; it is loaded with the first file.

export const isTiff = (name) => /\.tiff?$/i.test(name);

/** Return { width, height, bands, pixels } of a file: (height * width * bands) numbers with mean 0 and deviation 1. */
export async function readBands(content, { mean, std }) {
  const pages = await pagesOf(content);
  const [width, height] = [pages[0].getWidth(), pages[0].getHeight()];
  const bands = pages.reduce((sum, page) => sum + page.getSamplesPerPixel(), 0);
  if (bands !== mean.length) throw new Error(`${bands} bands. Expected ${mean.length}, as the model was trained with`);
  const pixels = new Float32Array(height * width * bands);
  const nodata = await nodataOf(pages[0]);
  let band = 0;
  for (const page of pages)
    for (const values of await decoded(page)) {
      const [middle, deviation] = [Math.fround(mean[band]), Math.fround(std[band])];
      const none = values instanceof Float32Array ? Math.fround(nodata) : nodata;
      for (let place = 0; place < values.length; place++) {
        const scaled = Math.fround(Math.fround(values[place]) - middle) / deviation;
        pixels[place * bands + band] = values[place] !== none && Number.isFinite(scaled) ? scaled : 0; // without data: the mean
      }
      band++;
    }
  return { width, height, bands, pixels };
}

/** Return the first image of a file, and the pages after it that are like it: bands may be samples, planes or pages. */
async function pagesOf(content) {
  await import("./geotiff.js"); // a script, whose name is global
  try {
    const file = await globalThis.GeoTIFF.fromArrayBuffer(content);
    const all = await Promise.all(Array.from({ length: await file.getImageCount() }, (_, index) => file.getImage(index)));
    const kinds = await Promise.all(all.map(kindOf));
    return all.filter((_, index) => kinds[index] === kinds[0]);
  } catch (error) {
    throw new Error(`it cannot be decoded (${error.message}). Expected a TIFF file`);
  }
}

/** Return what pages of one image have in common; the smaller copies of an image, and masks, have another. */
async function kindOf(page) {
  const subfile = page.fileDirectory.hasTag("NewSubfileType") ? await page.fileDirectory.loadValue("NewSubfileType") : 0;
  const sizes = [page.getWidth(), page.getHeight(), page.getSamplesPerPixel(), page.getBitsPerSample(), page.getSampleFormat()];
  return [subfile & 5, ...sizes].join();
}

async function nodataOf(page) {
  if (!page.fileDirectory.hasTag("GDAL_NODATA")) return NaN;
  return Number(String(await page.fileDirectory.loadValue("GDAL_NODATA")).replace(/\0.*$/, ""));
}

async function decoded(page) {
  try {
    return await page.readRasters();
  } catch (error) {
    throw new Error(`it cannot be decoded (${error.message}). Save it uncompressed, or with deflate`);
  }
}

/** Return a picture to draw on: the first three bands as red, green and blue. */
export function visible({ width, height, bands, pixels }) {
  const picture = new ImageData(width, height);
  for (let place = 0; place < width * height; place++) {
    for (let channel = 0; channel < 3; channel++)
      picture.data[4 * place + channel] = Math.floor(Math.min(Math.max(pixels[place * bands + (bands < 3 ? 0 : channel)] * 64 + 128, 0), 255));
    picture.data[4 * place + 3] = 255;
  }
  return picture;
}
