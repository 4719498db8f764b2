"use strict";
/** A file becomes a film as helpers.data prepares it (helpers/data/images.py), in the browser. */

/**
 * Read an image file as a square film in grey.
 *
 * Transparent pixels are placed on black, and colours turned to grey by the Rec. 601 luma.
 *
 * @param {Blob} file - Any image that the browser can decode.
 * @param {number} size - Height and width of the film in pixels.
 * @returns {Promise<Uint8Array>} Grey levels, row by row; rejected if the file is no image.
 */
async function readFilm(file, size) {
  const image = await createImageBitmap(file, { colorSpaceConversion: "none" });
  const { width, height } = image;
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillRect(0, 0, width, height); // black, if nothing else was chosen
  context.drawImage(image, 0, 0);
  const rgba = context.getImageData(0, 0, width, height).data;
  const grey = new Uint8Array(width * height);
  for (let pixel = 0; pixel < grey.length; pixel++) {
    const [r, g, b] = rgba.subarray(4 * pixel, 4 * pixel + 3);
    grey[pixel] = (19595 * r + 38470 * g + 7471 * b + 32768) >> 16; // 0.299, 0.587, 0.114, rounded
  }
  return resizeFilm(grey, width, height, size);
}

/**
 * Resize a film to a square as Pillow's bilinear filter does, which averages when it shrinks.
 *
 * @param {Uint8Array} grey - Grey levels, row by row.
 * @param {number} width - Pixels of a row.
 * @param {number} height - Number of rows.
 * @param {number} size - Height and width of the result in pixels.
 * @returns {Uint8Array} Grey levels, row by row.
 */
function resizeFilm(grey, width, height, size) {
  const across = resizeRows(grey, width, height, size); // (size, height), transposed
  return resizeRows(across, height, size, size);
}

const ONE = 2 ** 22; // Pillow's weights are integers, this many in all: ties are rounded alike

/** Resize each row to a length; the result is transposed: a second call does the columns. */
function resizeRows(grey, width, height, length) {
  const out = new Uint8Array(length * height);
  const scale = width / length;
  const reach = Math.max(scale, 1);
  for (let to = 0; to < length; to++) {
    const center = (to + 0.5) * scale;
    const first = Math.max(Math.floor(center - reach + 0.5), 0);
    const end = Math.min(Math.floor(center + reach + 0.5), width);
    const weights = [];
    for (let x = first; x < end; x++) {
      weights.push(Math.max(1 - Math.abs(x + 0.5 - center) / reach, 0));
    }
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const shares = weights.map((weight) => Math.floor((weight / total) * ONE + 0.5));
    for (let y = 0; y < height; y++) {
      let sum = ONE / 2;
      shares.forEach((share, k) => (sum += share * grey[y * width + first + k]));
      out[to * height + y] = Math.min(Math.floor(sum / ONE), 255);
    }
  }
  return out;
}
