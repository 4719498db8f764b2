// Look at every page of the built site in Chromium, and report what a reader would stumble over:
//
//   node check.mjs [--html FOLDER] [--pages REGEX] [--screenshots FOLDER]
//
// In each of desktop and phone, light and dark (pages of the reference, which are hundreds and all
// made alike, in two of the four that show both widths and both themes): violations of accessibility (axe), a page that is
// wider than its window, messages on the console. Once a page: links and anchors that lead nowhere,
// images that are missing or have no text, and anything that is loaded from another host.
// Ends with 0 if nothing was found, 1 if something was, and 2 if it could not look.

import { accessSync, constants, existsSync, mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, delimiter, dirname, join, relative, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const HERE = dirname(fileURLToPath(import.meta.url));
const BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const TABS = 3; // two keep two cores busy while one waits
// In this order, the window is resized once.
const STATES = [
  { name: "desktop, light", width: 1280, height: 900, theme: "light" },
  { name: "desktop, dark", width: 1280, height: 900, theme: "dark" },
  { name: "phone, dark", width: 390, height: 844, theme: "dark" },
  { name: "phone, light", width: 390, height: 844, theme: "light" },
];
const FEW = [STATES[0], STATES[2]];
const statesOf = (name) => (name.startsWith("generated/") ? FEW : STATES);
// Without this, axe fetches the style sheets again, which a page that is a file may not do.
const COMMON = { preload: false, resultTypes: ["violations"] };
const COLORS = ["color-contrast", "link-in-text-block"];
// WCAG 2.1 AA, axe's good practices, and one rule that axe still calls experimental.
const ALL_BUT_COLORS = {
  ...COMMON,
  runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"],
  rules: { "label-content-name-mismatch": { enabled: true }, ...Object.fromEntries(COLORS.map((rule) => [rule, { enabled: false }])) },
};
const ONLY_COLORS = { ...COMMON, runOnly: { type: "rule", values: COLORS } };
// A sidebar lists hundreds of names, all made alike: the first ones stand for them.
const ALIKE = ".bd-sidebar-primary li:nth-child(n+9):not(.current)";
const SHOWN = 3; // examples of each fault in the report
const SETTLE = 400; // milliseconds; the theme waits 300 after a window's resizing

const { values: options } = parseArgs({
  options: {
    html: { type: "string", default: join(HERE, "..", "_build", "html") },
    pages: { type: "string", default: "" },
    screenshots: { type: "string" },
  },
});

/** Say why the site cannot be looked at, and end. */
function giveUp(reason) {
  console.error(reason);
  process.exit(2);
}

/** Return the path of the first browser on the PATH. */
function findBrowser() {
  for (const name of BROWSERS) {
    for (const folder of (process.env.PATH ?? "").split(delimiter)) {
      try {
        accessSync(join(folder, name), constants.X_OK);
        return join(folder, name);
      } catch {} // not in this folder
    }
  }
  return giveUp(`Expected a browser on the PATH, one of ${BROWSERS.join(", ")}. On Debian: apt-get install chromium`);
}

/** Return the HTML pages below a folder, in order; files for download are not pages of the site. */
function listPages(folder) {
  const isListing = (name) => name.startsWith("_modules/helpers/");
  return readdirSync(folder, { recursive: true })
    .filter((name) => name.endsWith(".html") && !/^_(static|downloads|sources)\b/.test(name))
    .sort()
    // Listings of source code are all made alike: the first stands for them.
    .filter((name, place, names) => !isListing(name) || place === names.findIndex(isListing));
}

// kind of fault -> page -> example -> states in which it was seen
const faults = new Map();
/** Note one fault. */
function note(kind, page, example, state = "") {
  if (!faults.has(kind)) faults.set(kind, new Map());
  const pages = faults.get(kind);
  if (!pages.has(page)) pages.set(page, new Map());
  const examples = pages.get(page);
  if (!examples.has(example)) examples.set(example, []);
  if (state) examples.get(example).push(state);
}

const anchors = new Map(); // file -> its identifiers
/** Say whether a file has an anchor. */
function hasAnchor(file, anchor) {
  if (!anchors.has(file)) {
    const found = readFileSync(file, "utf-8").matchAll(/\s(?:id|name)="([^"]+)"/g);
    anchors.set(file, new Set([...found].map((match) => match[1])));
  }
  return anchors.get(file).has(anchor);
}

/** Return what is wrong with a link to a file; nothing if it leads somewhere. */
function findLinkFault(href, root) {
  const url = new URL(href);
  const file = fileURLToPath(new URL(url.pathname, "file://"));
  if (relative(root, file).startsWith("..")) return "leaves the site";
  if (!existsSync(file) || !statSync(file).isFile()) return "no such file";
  const anchor = decodeURIComponent(url.hash.slice(1));
  if (anchor && file.endsWith(".html") && !hasAnchor(file, anchor)) return "no such anchor";
  return "";
}

/** In the page: its links, and the images that have no text or cannot be seen. */
async function readPage() {
  const plain = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, " ").trim();
  const images = [...document.images];
  images.forEach((image) => (image.loading = "eager"));
  await Promise.all(images.map((image) => image.decode().catch(() => {})));
  return {
    links: [...new Set([...document.querySelectorAll("a[href]")].map((link) => link.href))],
    unseen: images.filter((image) => !image.naturalWidth).map((image) => image.getAttribute("src")),
    // An empty text is right where the image repeats what its link says.
    unsaid: images.filter((image) => !image.alt && !image.closest("a, .sphx-glr-thumbcontainer")).map((image) => image.getAttribute("src")),
    filenames: images
      .filter((image) => image.alt && ` ${plain(image.src.split("/").at(-1))} `.includes(` ${plain(image.alt)} `))
      .map((image) => image.alt),
  };
}

/** In the page: what does not fit into the window, outermost first; nothing if all does. */
function findOverflow() {
  // The theme lets the text scroll sideways in its frame; only parts of it should.
  for (const frame of [document.documentElement, document.querySelector("article")?.parentElement]) {
    const excess = frame ? frame.scrollWidth - frame.clientWidth : 0;
    if (excess <= 0) continue;
    const edge = frame.getBoundingClientRect().left + frame.clientWidth + 1;
    const wide = [...frame.querySelectorAll("*")].find((part) => part.getBoundingClientRect().right > edge && part.checkVisibility());
    return `${excess} px too wide: ${wide?.cloneNode(false).outerHTML.slice(0, 120) ?? ""}`;
  }
  return "";
}

/** Check one page in its states. */
async function checkPage(browser, root, name, axe) {
  const context = await browser.newContext({ reducedMotion: "reduce", viewport: STATES[0] });
  const page = await context.newPage();
  page.on("console", (message) => message.type() === "error" && note("console", name, message.text()));
  page.on("pageerror", (error) => note("console", name, String(error)));
  page.on("request", (request) => /^(file|data|blob):/.test(request.url()) || note("other host", name, request.url()));
  page.on("requestfailed", (request) => note("not loaded", name, request.url().split("/").slice(-2).join("/")));
  await page.goto(pathToFileURL(join(root, name)).href, { waitUntil: "load" });
  await page.addStyleTag({ content: "*, ::before, ::after { transition: none !important; animation: none !important; }" });
  await page.evaluate(axe);

  const found = await page.evaluate(readPage);
  for (const href of found.links.filter((link) => link.startsWith("file:"))) {
    const fault = findLinkFault(href, root);
    if (fault) note("link", name, `${fault}: ${relative(root, fileURLToPath(href.split("#")[0].split("?")[0]))}${new URL(href).hash}`);
  }
  found.unseen.forEach((source) => note("image cannot be shown", name, source));
  found.unsaid.forEach((source) => note("image without text", name, source));
  found.filenames.forEach((text) => note("image with a file's name as text", name, text));

  let width = STATES[0].width;
  const seen = new Set(); // widths and themes
  for (const state of statesOf(name)) {
    if (state.width !== width) {
      width = state.width;
      await page.setViewportSize(state);
      await page.waitForTimeout(SETTLE);
    }
    await page.evaluate((theme) => Object.assign(document.documentElement.dataset, { theme, mode: theme }), state.theme);
    const overflow = await page.evaluate(findOverflow);
    if (overflow) note("page wider than its window", name, overflow, state.name);
    // A theme changes nothing but colors, and code has many, which do not depend on the window.
    const runs = [[{ exclude: seen.has(state.theme) ? [ALIKE, "pre"] : [ALIKE] }, ONLY_COLORS]];
    if (!seen.has(state.width)) runs.push([{ exclude: [ALIKE] }, ALL_BUT_COLORS]);
    seen.add(state.theme).add(state.width);
    for (const run of runs) {
      const { violations } = await page.evaluate((run) => axe.run(...run), run);
      for (const { id, impact, nodes } of violations) {
        for (const node of nodes) note(`${id} (${impact})`, name, node.html.replace(/\s+/g, " ").slice(0, 160), state.name);
      }
    }
    if (options.screenshots) {
      const file = `${name.replace(/\.html$/, "").replaceAll("/", ".")}, ${state.name}.png`.replaceAll(", ", "-");
      await page.screenshot({ path: join(options.screenshots, file), fullPage: true });
    }
  }
  await context.close();
}

/** Print all faults, each kind with the number of its pages and a few examples. */
function report() {
  for (const [kind, pages] of [...faults].sort(([a], [b]) => a.localeCompare(b))) {
    const examples = [...pages].flatMap(([page, seen]) => [...seen].map(([example, states]) => ({ page, example, states })));
    console.log(`\n${kind}: ${examples.length} on ${pages.size} page${pages.size > 1 ? "s" : ""}`);
    for (const { page, example, states } of examples.slice(0, SHOWN)) {
      console.log(`  ${page}${states.length ? ` (${[...new Set(states)].join("; ")})` : ""}\n    ${example}`);
    }
  }
}

if (Number(process.versions.node.split(".")[0]) < 20) giveUp(`Expected Node 20 or later. Received ${process.version}.`);
const root = resolve(options.html);
if (!existsSync(join(root, "index.html"))) giveUp(`Expected a built site in ${options.html}. Run 'make html' first.`);
const pages = listPages(root).filter((name) => new RegExp(options.pages).test(name));
if (!pages.length) giveUp(`Expected a page whose name matches ${options.pages}. Received none.`);
if (options.screenshots) mkdirSync(options.screenshots, { recursive: true });

const executablePath = findBrowser();
const { chromium } = await import("playwright-core");
const axe = readFileSync(join(HERE, "node_modules", "axe-core", "axe.min.js"), "utf-8");
const args = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"];
// Playwright starts the browser without its sandbox, which root and containers cannot have.
const browser = await chromium.launch({ executablePath, args }).catch((error) => giveUp(`The browser does not start: ${error.message}`));
const started = Date.now();
let done = 0;
const waiting = [...pages];
await Promise.all(
  Array.from({ length: TABS }, async () => {
    for (let name = waiting.shift(); name; name = waiting.shift()) {
      // A machine that is busy may need a second attempt.
      await checkPage(browser, root, name, axe)
        .catch(() => checkPage(browser, root, name, axe))
        .catch((error) => note("not checked", name, error.message.split("\n")[0]));
      done += 1;
      if (process.stderr.isTTY) process.stderr.write(`\r${done} of ${pages.length} pages`);
      else if (done % 10 === 0) console.error(`${done} of ${pages.length} pages`);
    }
  }),
);
await browser.close();
if (process.stderr.isTTY) process.stderr.write("\n");
report();
const seconds = Math.round((Date.now() - started) / 1000);
const nFew = pages.filter((name) => statesOf(name) === FEW).length;
const ways = nFew ? `${pages.length - nFew} in ${STATES.length} ways and ${nFew} in ${FEW.length}` : `each in ${STATES.length} ways`;
console.log(`\n${pages.length} page${pages.length > 1 ? "s" : ""}, ${ways}, ${seconds} s: ${faults.size ? `${faults.size} kinds of faults` : "no fault"}.`);
process.exit(faults.size ? 1 : 0);
