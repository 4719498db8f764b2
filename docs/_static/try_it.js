"use strict";
/** The page: choose or drop a film; see the answer, where it comes from, and similar films. */

const layers = decodeLayers(exported.layers);
const features = decodeTensor(exported.others.features);
const part = (name) => document.getElementById(`try-${name}`);
const probability = (logit) => (1 / (1 + Math.exp(-logit))).toFixed(2);
const RAISES = [230, 159, 0];
const LOWERS = [86, 180, 233];
let shown; // the film on the canvas, its network's results, and its description

/** Make a canvas of height rows and width columns; paint(index) is [r, g, b, alpha]. */
function drawPixels(height, width, paint) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const image = new ImageData(width, height);
  for (let index = 0; index < width * height; index++) image.data.set(paint(index), 4 * index);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** Make a canvas of a square film. */
function drawFilm(film) {
  const size = Math.sqrt(film.length);
  return drawPixels(size, size, (index) => [film[index], film[index], film[index], 255]);
}

/** Make an image of a square film, with a text for those who do not see it. */
function makeImage(film, alt) {
  const image = Object.assign(new Image(), { src: drawFilm(film).toDataURL(), alt });
  image.className = "dark-light"; // no white paper around it in the dark
  return image;
}

/** Draw the film and, if the box is checked, the class activation map over it. */
function drawResult() {
  const canvas = part("film");
  const context = canvas.getContext("2d");
  context.drawImage(drawFilm(shown.film), 0, 0, canvas.width, canvas.height);
  if (part("heat").checked) {
    const [height, width] = shown.map.shape;
    const map = drawPixels(height, width, (index) => {
      const strength = shown.map.data[index] / exported.brightest;
      const alpha = 200 * Math.min(Math.abs(strength), 1);
      return [...(strength > 0 ? RAISES : LOWERS), alpha];
    });
    context.drawImage(map, 0, 0, canvas.width, canvas.height);
  }
  const heat = part("heat").checked ? `, with its heat map of ${shown.map.shape.join(" × ")}` : "";
  canvas.setAttribute("aria-label", `${shown.name}${heat}`);
}

/** Compute a film and show everything; about(logit) is what is known about it. */
function show(film, name, about) {
  shown = { film, name, ...runNetwork(layers, film) };
  const answer = part("answer");
  answer.textContent = `${name}: probability of a finding ${probability(shown.logit)}. `;
  answer.append(about(shown.logit));
  answer.dataset.logit = shown.logit;
  drawResult();
  const { pixels, findings } = exported.others;
  const similar = findSimilar(shown.features, features, 3).map(({ index, cosine }, place) => {
    const item = document.createElement("li");
    const image = makeImage(decodeBytes(pixels[index]), `Similar film ${place + 1}`);
    item.append(image, `${findings[index]} (${cosine.toFixed(2)})`);
    return item;
  });
  part("similar").replaceChildren(...similar);
}

/** Mark one film as chosen, or none. */
function press(button) {
  for (const other of part("films").children) other.setAttribute("aria-pressed", other === button);
}

/** Make the button of one of the films. */
function makeButton({ pixels, findings, logit }, index) {
  const name = `Synthetic film ${index + 1}`;
  const button = Object.assign(document.createElement("button"), { type: "button" });
  const film = decodeBytes(pixels);
  button.append(makeImage(film, name));
  button.addEventListener("click", () => {
    press(button);
    show(film, name, (ours) => {
      const difference = Number(Math.abs(ours - logit).toPrecision(1));
      return `Recorded: ${findings}. The logit differs from that of Keras by ${difference}.`;
    });
  });
  return button;
}

/** Show a file that was dropped or chosen, or say that it is no image. */
async function showFile(file) {
  if (!file) return;
  let film;
  try {
    film = await readFilm(file, exported.size);
  } catch {
    part("answer").textContent =
      "Expected an image, such as a PNG or JPEG file. Received " +
      `“${file.name}”, which this browser cannot read. The picture is still that of the last film.`;
    return;
  }
  press(null);
  show(film, "Your film", () => "It was computed in this page and sent nowhere.");
}

part("films").append(...exported.films.map(makeButton));
part("heat").addEventListener("change", drawResult);
part("file").addEventListener("change", ({ target }) => {
  showFile(target.files[0]);
  target.value = ""; // so that the same file can be chosen again
});
for (const name of ["dragover", "drop"]) {
  // Or the browser would leave the page and open the file.
  part("drop").addEventListener(name, (event) => event.preventDefault());
}
part("drop").addEventListener("drop", ({ dataTransfer }) => showFile(dataTransfer.files[0]));
part("films").firstElementChild.click();
