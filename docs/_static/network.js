"use strict";
/**
 * The network, computed as Keras computes it for one film. Weights come from docs/browser_model.py.
 *
 * A tensor is {shape: [height, width, channels], data}, with channels last, as in TensorFlow: entry
 * (y, x, c) is data[(y * width + x) * channels + c]. Tensors hold 32-bit floats; sums are 64-bit.
 */

/** Make a tensor of zeros. */
function zeros(...shape) {
  return { shape, data: new Float32Array(shape.reduce((size, length) => size * length, 1)) };
}

/** Decode base64 to bytes. */
function decodeBytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/** Decode an exported array of floats, {shape, data: base64}, to a tensor. */
function decodeTensor({ shape, data }) {
  return { shape, data: new Float32Array(decodeBytes(data).buffer) };
}

/** The zeros that "same" padding puts before an axis; if their number is odd, one more is after. */
function countBefore(length, kernel, stride) {
  const last = (Math.ceil(length / stride) - 1) * stride;
  return Math.floor(Math.max(last + kernel - length, 0) / 2);
}

/** One function for each class of layers in Keras: a tensor and the layer, to a tensor. */
const LAYERS = {
  /** (h, w, c) to (⌈h / stride⌉, ⌈w / stride⌉, filters); kernel (rows, columns, c, filters). */
  Conv2D(x, { strides: [down, right], weights: [kernel, bias] }) {
    const [height, width, channels] = x.shape;
    const [rows, columns, , filters] = kernel.shape;
    const above = countBefore(height, rows, down);
    const before = countBefore(width, columns, right);
    const out = zeros(Math.ceil(height / down), Math.ceil(width / right), filters);
    for (let i = 0; i < out.shape[0]; i++) {
      for (let j = 0; j < out.shape[1]; j++) {
        const sums = Float64Array.from(bias.data);
        for (let row = 0; row < rows; row++) {
          for (let column = 0; column < columns; column++) {
            const [y, z] = [i * down - above + row, j * right - before + column];
            if (y < 0 || y >= height || z < 0 || z >= width) continue;
            for (let c = 0; c < channels; c++) {
              const value = x.data[(y * width + z) * channels + c];
              const start = ((row * columns + column) * channels + c) * filters;
              for (let f = 0; f < filters; f++) sums[f] += value * kernel.data[start + f];
            }
          }
        }
        out.data.set(sums, (i * out.shape[1] + j) * filters);
      }
    }
    return out;
  },

  /** (h, w, c) to (h', w', c): windows that do not fit are left out. */
  MaxPooling2D(x, { pool_size: [rows, columns], strides: [down, right] }) {
    const [height, width, channels] = x.shape;
    const fit = (length, pool, stride) => Math.floor((length - pool) / stride) + 1;
    const out = zeros(fit(height, rows, down), fit(width, columns, right), channels);
    out.data.fill(-Infinity);
    for (let i = 0; i < out.shape[0]; i++) {
      for (let j = 0; j < out.shape[1]; j++) {
        for (let row = 0; row < rows; row++) {
          for (let column = 0; column < columns; column++) {
            for (let c = 0; c < channels; c++) {
              const to = (i * out.shape[1] + j) * channels + c;
              const from = ((i * down + row) * width + j * right + column) * channels + c;
              out.data[to] = Math.max(out.data[to], x.data[from]);
            }
          }
        }
      }
    }
    return out;
  },

  /** (h, w, c) to (h, w, c): mean 0 and variance 1 in each group of neighbouring channels. */
  GroupNormalization(x, { groups, epsilon, weights: [gamma, beta] }) {
    const channels = x.shape[2];
    const groupOf = (index) => Math.floor(((index % channels) * groups) / channels);
    const inGroup = x.data.length / groups;
    const means = new Float64Array(groups);
    const variances = new Float64Array(groups);
    x.data.forEach((value, index) => (means[groupOf(index)] += value / inGroup));
    x.data.forEach((value, index) => {
      variances[groupOf(index)] += (value - means[groupOf(index)]) ** 2 / inGroup;
    });
    const data = x.data.map((value, index) => {
      const [group, c] = [groupOf(index), index % channels];
      const scale = gamma.data[c] / Math.sqrt(variances[group] + epsilon);
      return (value - means[group]) * scale + beta.data[c];
    });
    return { shape: x.shape, data };
  },

  /** Negative values become 0. */
  ReLU(x) {
    return { shape: x.shape, data: x.data.map((value) => Math.max(value, 0)) };
  },

  /** (h, w, c) to (c): the mean of each channel. */
  GlobalAveragePooling2D(x) {
    const [height, width, channels] = x.shape;
    const sums = new Float64Array(channels);
    x.data.forEach((value, index) => (sums[index % channels] += value));
    return { shape: [channels], data: Float32Array.from(sums, (sum) => sum / (height * width)) };
  },

  /** (c) to (1): one unit. */
  Dense(x, { weights: [kernel, bias] }) {
    const logit = x.data.reduce((sum, value, c) => sum + value * kernel.data[c], bias.data[0]);
    return { shape: [1], data: Float32Array.of(logit) };
  },
};

/** Decode the weights of all layers once. */
function decodeLayers(layers) {
  return layers.map((layer) => ({ ...layer, weights: layer.weights.map(decodeTensor) }));
}

/**
 * Compute one film.
 *
 * The last two layers are a mean over positions and a weighted sum over channels. In the other
 * order they give a number for each position, the class activation map: its mean and the bias add
 * up to the logit.
 *
 * @param {object[]} layers - As decodeLayers returns them.
 * @param {Uint8Array} film - Grey levels of a square film, row by row.
 * @returns {{logit: number, features: Float32Array, map: object}} Features (c); the map (h, w).
 */
function runNetwork(layers, film) {
  const size = Math.sqrt(film.length);
  let x = { shape: [size, size, 1], data: Float32Array.from(film, (level) => level / 255) };
  for (const layer of layers.slice(0, -2)) x = LAYERS[layer.class](x, layer);
  const [mean, unit] = layers.slice(-2);
  const features = LAYERS[mean.class](x, mean);
  const [height, width, channels] = x.shape;
  const map = zeros(height, width);
  x.data.forEach((value, index) => {
    const weight = unit.weights[0].data[index % channels];
    map.data[Math.floor(index / channels)] += value * weight;
  });
  return { logit: LAYERS[unit.class](features, unit).data[0], features: features.data, map };
}

/**
 * Find the films whose features point in the most similar direction.
 *
 * @param {Float32Array} features - Of one film, (c).
 * @param {{shape: number[], data: Float32Array}} others - Of other films, (n, c).
 * @param {number} count - How many to return.
 * @returns {{index: number, cosine: number}[]} The most similar one first.
 */
function findSimilar(features, others, count) {
  const dot = (a, b) => a.reduce((sum, value, c) => sum + value * b[c], 0);
  const [n, channels] = others.shape;
  const rows = Array.from({ length: n }, (_, index) => {
    const other = others.data.subarray(index * channels, (index + 1) * channels);
    const lengths = Math.sqrt(dot(features, features) * dot(other, other));
    return { index, cosine: lengths > 0 ? dot(features, other) / lengths : 0 };
  });
  return rows.sort((a, b) => b.cosine - a.cosine).slice(0, count);
}
