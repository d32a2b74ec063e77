// Drop a model and an image on the page in headless Chromium: node test.mjs CHROMIUM MODEL IMAGE SCREENSHOT
// Prints, as JSON, what the page found and the errors of its console. Called by tests/export/page.py.
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { chromium } from "playwright-core";
import { serve } from "./serve.mjs";

const [executablePath, model, image, screenshot] = process.argv.slice(2);
const server = await serve(0);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
try {
  const page = await browser.newPage({ viewport: { width: 1000, height: 900 } });
  const errors = [];
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(`http://localhost:${server.address().port}/`);
  const said = [];
  for (const file of [model, image]) said.push(await drop(page, file));
  await page.screenshot({ path: screenshot });
  const found = await page.evaluate(() => ({
    legend: document.getElementById("legend").textContent,
    threads: globalThis.crossOriginIsolated,
    objects: globalThis.result?.objects,
    labels: globalThis.result?.labels && Array.from(globalThis.result.labels),
    areas: globalThis.result?.masks?.map((mask) => mask.reduce((sum, inside) => sum + inside, 0)),
  }));
  console.log(JSON.stringify({ ...found, said, errors }));
} finally {
  await browser.close();
  server.close();
}

/** Drop a file on the page as a person does; return what the page says once it has taken it. */
async function drop(page, file) {
  const content = readFileSync(file).toString("base64");
  const transfer = await page.evaluateHandle(async ([name, text]) => {
    const bytes = await (await fetch(`data:application/octet-stream;base64,${text}`)).arrayBuffer();
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name));
    return transfer;
  }, [basename(file), content]);
  await page.dispatchEvent("#drop", "drop", { dataTransfer: transfer });
  const isTaken = (name) => document.getElementById("status").textContent.startsWith(`${name}:`);
  await page.waitForFunction(isTaken, basename(file), { timeout: 120000 });
  return page.textContent("#status");
}
