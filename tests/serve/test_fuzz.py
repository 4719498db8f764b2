"""Fuzzing: requests of every wrong kind get an answer below 500, and leave no memory behind."""

import contextlib
import http.client
import json
import random
import socket
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers.serve.films import Limits, Refusal, read
from tests.serve.conftest import SIDE, encode, make_form, start_server

PATHS = ("/predict", "/v1/models/chest_xrays:predict", "/explain")
KEYS = ("films", "instances", "films")
KINDS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
NUMBERS = (-1, 256, 0.5, None, True, "7", 10**30, [], [3], [3, 3], {}, {"films": 1}, 1e999)


def damage(content, rng):
    """Change, remove, repeat or insert bytes, at a few places."""
    content = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(len(content) + 1)
        length = rng.choice((1, 1, 1, 4, 64))
        other = rng.choice((rng.randbytes(length), b"\xff" * length, bytes(length)))
        match rng.randrange(4):
            case 0:
                content[place : place + length] = other
            case 1:
                del content[place : place + length]
            case 2:
                content[place:place] = content[place : place + length]
            case _:
                content[place:place] = other
    return bytes(content[: rng.randrange(len(content) + 1)] if rng.random() < 0.2 else content)


def draw_file(rng):
    """Return an image file, whole or damaged, or something else."""
    height = rng.choice((16, 40, 64, 200))
    width = 1 if rng.random() < 0.1 else rng.choice((20, 64, 300))
    pixels = np.frombuffer(rng.randbytes(height * width), np.uint8).reshape(height, width)
    mode = rng.choice(("L", "L", "RGB", "P", "1", "I;16", "LA"))
    deep = pixels.astype(np.uint16) * 200
    film = Image.fromarray(deep) if mode == "I;16" else Image.fromarray(pixels).convert(mode)
    try:
        content = encode(film, rng.choice(KINDS))
    except OSError:  # a format without such pixels
        content = encode(film.convert("L"))
    match rng.randrange(12):
        case 0 | 1 | 2 | 3 | 4:
            return content
        case 5:
            return rng.randbytes(rng.randrange(500))
        case 6:
            return bytes(128) + b"DICM" + content
        case _:
            return damage(content, rng)


def draw_json(rng, key):
    """Return JSON of films, with a fault in most of it."""
    film = np.frombuffer(rng.randbytes(SIDE * SIDE), np.uint8).reshape(SIDE, SIDE).tolist()
    films = [film] * rng.choice((1, 1, 2, 5))
    match rng.randrange(8):
        case 0:
            films = rng.choice(NUMBERS)
        case 1:
            films[0][rng.randrange(SIDE)] = rng.choice(NUMBERS)
        case 2 | 3:
            films[0][rng.randrange(SIDE)][rng.randrange(SIDE)] = rng.choice(NUMBERS)
        case 4:
            films = [films] * rng.choice((1, 100))
        case 5:
            return rng.choice((b"[" * 50_000, b'{"films":' * 20_000, b"1" * 5000, b"null", b""))
        case 6:
            return damage(json.dumps({key: films}).encode(), rng)
    return json.dumps({rng.choice((key, key, key, "other")): films}).encode()


def draw_request(rng, pool):
    """Return method, path, body and headers of one request; its files are from a pool."""
    # Of maps, only what is refused: they need TensorFlow.
    place = rng.choices(range(3), (6, 3, 1))[0]
    path, key, method = PATHS[place], KEYS[place], "POST"
    if place == 2:
        body, kind = make_form(rng.randbytes(100))
    elif rng.random() < 0.5:
        name = rng.choice((key,) * 20 + ("other", "\udcff", ""))
        name = name.encode("utf-8", "surrogateescape").decode("latin-1")
        files = rng.choices(pool, k=70 if rng.random() < 0.02 else rng.choice((1, 1, 1, 2)))
        boundary = rng.choice(("b",) * 20 + ("x" * 70, "x" * 300, "a b", '"', "é"))
        body, kind = make_form(*files, name=name, boundary=boundary)
        if rng.random() < 0.3:
            body = damage(body, rng)
        charsets = ("idna", "undefined", "utf-16", "punycode", "base64", "none", "unicode_escape")
        if rng.random() < 0.2:
            kind += f"; charset={rng.choice(charsets)}"
    else:
        body = draw_json(rng, key)
        kind = rng.choice(("application/json", "application/x-www-form-urlencoded", "text/plain"))
    if rng.random() < 0.1 and place != 2:
        kinds = ("image/png", "multipart/form-data", "application/dicom", "", ";;;=", "a" * 5000)
        kind = rng.choice(kinds)
    if rng.random() < 0.05:
        method = rng.choice(("GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "ODD"))
    if rng.random() < 0.05:
        others = (
            "/",
            "/metrics",
            "/%00",
            "/%ff%fe",
            "/..%2f",
            "//predict",
            "/predict/",
            "/a" * 900,
        )
        path = rng.choice(others)
    return method, path + rng.choice(("", "", "", "?a=%ff&b")), body, {"content-type": kind}


def fuzz(server, n_requests, seed):
    """Send many requests; return how often each status came, and the memory on the way."""
    rng, counts, memory = random.Random(seed), {}, []
    pool = [draw_file(rng) for _ in range(min(n_requests, 1000) // 2)]
    connection = http.client.HTTPConnection(server.host, server.port)
    for number in range(n_requests):
        if number % (n_requests // 10) == n_requests // 10 - 1:
            memory.append(server.memory())
        method, path, body, headers = draw_request(rng, pool)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (ConnectionError, http.client.HTTPException):
            # A connection that the server has closed after its last answer.
            connection.close()
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
        counts[answer.status] = counts.get(answer.status, 0) + 1
        assert answer.status < 500, (number, method, path, body[:300], headers, text)
        assert answer.headers["x-notice"], (number, method, path, text)
        if answer.status >= 400 and method != "HEAD":
            assert json.loads(text)["error"].startswith("Expected "), text
    connection.close()
    return counts, memory


def send_noise(server, n_requests, seed):
    """Send what is not even HTTP, or ends in its middle; the statuses that come back."""
    rng, statuses = random.Random(seed), set()
    for _ in range(n_requests):
        body, kind = make_form(draw_file(rng))
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
        length = rng.choice((len(body), len(body) + 50, 0, 3, -1, 10**20, "x"))
        more = rng.choice((f"Content-Length: {length}\r\n", "Transfer-Encoding: chunked\r\n", ""))
        whole = (head + more + "\r\n").encode() + body
        client = socket.create_connection((server.host, server.port))
        with client, contextlib.suppress(OSError):  # the server may hang up in between
            client.sendall(damage(whole, rng) if rng.random() < 0.7 else whole)
            client.shutdown(socket.SHUT_WR)
            while answer := client.recv(65536):
                if answer.startswith(b"HTTP/1.1 "):
                    statuses.add(int(answer[9:12]))
    return statuses


def run_fuzz(folder, n_requests):
    with start_server(folder) as server:
        fuzz(server, 300, seed=1)  # until everything has been used once
        before = server.memory()
        counts, memory = fuzz(server, n_requests, seed=0)
        assert max(send_noise(server, n_requests // 20, seed=0)) < 500
        assert sum(counts.values()) == n_requests
        assert counts[200] > n_requests / 8
        assert {400, 404, 405, 413, 415, 422} <= set(counts)
        assert max(*memory, server.memory()) - before < 50, (before, memory)
        assert server.ask("GET", "/health")[0] == 200
        assert "Traceback" not in server.messages()
    return counts, before, memory


def test_a_thousand_requests_of_every_kind_get_an_answer_below_500(model_folder):
    run_fuzz(model_folder, 1000)


@pytest.mark.stress
def test_ten_thousand_requests_get_an_answer_below_500_in_flat_memory(model_folder):
    counts, before, memory = run_fuzz(model_folder, 10_000)
    print(counts, before, memory)


_SIDE = 8  # of films in this process


def _read(upload):
    """Read as the service does; anything but films or a refusal is an error."""
    try:
        films, names = read(upload, "films", _SIDE, Limits(), time.monotonic() + 60)
    except Refusal as refusal:
        status, sentence = refusal.args
        assert 400 <= status < 500
        assert sentence.startswith("Expected ")
        return
    assert films.dtype == np.uint8
    assert films.shape == (len(names), _SIDE, _SIDE)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
)


@given(_VALUES, st.integers(0, _SIDE - 1), st.integers(0, _SIDE - 1), st.integers(0, 3))
@settings(max_examples=200)
def test_any_json_is_films_or_refused(value, row, column, depth):
    film = np.arange(_SIDE * _SIDE).reshape(_SIDE, _SIDE)
    films = [film.tolist()]
    if depth == 1:
        films[0] = value
    elif depth == 2:
        films[0][row] = value
    elif depth == 3:
        films[0][row][column] = value
    _read(json.dumps({"films": films} if depth else value).encode())


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_as_json(content):
    _read(content)
