// Copy the page and onnxruntime's files to dist/, which any web server can serve.
import { cpSync, mkdirSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const runtime = `${here}node_modules/onnxruntime-web/dist/`;

rmSync(`${here}dist`, { recursive: true, force: true });
mkdirSync(`${here}dist`);
for (const name of ["index.html", "page.js", "model.js", "bands.js"]) cpSync(here + name, `${here}dist/${name}`);
for (const name of ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"])
  cpSync(runtime + name, `${here}dist/${name}`);
cpSync(`${here}node_modules/geotiff/dist-browser/geotiff.js`, `${here}dist/geotiff.js`);
