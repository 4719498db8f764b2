// Use the page of a running service as a reader does, and report what it answers as JSON:
//
//   node service.mjs URL FILM [--picture FILE.png] [--maps]
//
// The film is chosen in the form, then dropped; with --maps, its map is asked for by keyboard.
// Ends with 0 if the page works, 1 if it does not.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { picture: { type: "string" }, maps: { type: "boolean" } },
});
const [url, film] = positionals;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf-8");
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
const page = await browser.newPage({ viewport: { width: 760, height: 640 }, bypassCSP: true });
const told = { console: [], hosts: [], violations: [], widths: [] };
page.on("console", (message) => message.type() === "error" && told.console.push(message.text()));
page.on("pageerror", (error) => told.console.push(String(error)));
page.on("request", (request) => /^(blob|data):/.test(request.url()) || told.hosts.push(new URL(request.url()).host));

/** Wait until the page has said something that matches. */
const said = (pattern) => page.waitForFunction(
  (source) => new RegExp(source).test(document.getElementById("status").textContent), pattern, { timeout: 60000 });

/** Drop a file onto the page. */
const drop = (name, bytes) => page.evaluate(([name, bytes]) => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([new Uint8Array(bytes)], name));
  document.getElementById("drop").dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
}, [name, [...bytes]]);

try {
  await page.goto(url);
  await said("^Ready");
  await page.setInputFiles("#file", film);
  await said("^Answered");
  told.chosen = await page.textContent(".answer");
  if (options.maps) {
    await page.focus(".film button");
    await page.keyboard.press("Enter");
    await said("Grad-CAM");
    told.maps = await page.locator(".film canvas").count();
  }
  if (options.picture) await page.screenshot({ path: options.picture });
  await drop("dropped-" + basename(film), readFileSync(film));
  await page.waitForFunction(() => document.querySelectorAll(".film").length === 2);
  told.dropped = await page.textContent(".answer");
  await drop("notes.txt", Buffer.from("no film"));
  await said("^Expected");
  told.refused = await page.textContent("#status");
  for (const [colorScheme, width] of [["light", 760], ["dark", 760], ["light", 390], ["dark", 390]]) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 800 });
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run());
    told.violations.push(...violations.map(({ id }) => `${id} (${colorScheme}, ${width} px)`));
    told.widths.push(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth));
  }
  await page.keyboard.press("Tab");
  told.focused = await page.evaluate(() => document.activeElement.id || document.activeElement.tagName);
  told.hosts = [...new Set(told.hosts)];
  console.log(JSON.stringify(told));
} finally {
  await browser.close();
}
