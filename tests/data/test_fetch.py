import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from helpers.data.fetch import PNEUMONIAMNIST_MD5, fetch_pneumoniamnist

DATA = bytes(range(256)) * 1000
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serve DATA as the server's fields ask: with ranges, cut after some bytes, or an error."""

    def do_GET(self):
        server = self.server
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        server.asked.append(asked and int(asked[1]))
        if server.error:
            return self.send_error(server.error)
        start = int(asked[1]) if asked and server.ranges else 0
        if start and start >= len(server.data):
            return self.send_error(416)
        self.send_response(206 if asked and server.ranges else 200)
        if server.lengths:
            self.send_header("Content-Length", str(len(server.data) - start))
        self.end_headers()
        block = server.data[start:]
        if server.cuts:
            block = block[: server.cuts.pop(0)]
        self.wfile.write(block)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """Serve on loopback; the test sets what goes wrong."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.data, server.ranges, server.lengths, server.error = DATA, True, True, None
    server.cuts, server.asked = [], []  # bytes after which each answer breaks; offsets asked for
    server.url = f"http://127.0.0.1:{server.server_address[1]}/pneumoniamnist.npz"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(server, folder, **options):
    return fetch_pneumoniamnist(folder, url=server.url, **{"md5": MD5, **options})


def test_downloads_once(server, tmp_path):
    path = fetch(server, tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "pneumoniamnist.npz"
    assert path.read_bytes() == DATA
    assert fetch(server, tmp_path / "new" / "folder") == path
    assert server.asked == [None]
    assert [file.name for file in path.parent.iterdir()] == ["pneumoniamnist.npz"]


def test_default_folder_is_the_cache(server, tmp_path, monkeypatch):
    monkeypatch.setenv("CHEST_XRAYS_CACHE", str(tmp_path / "cache"))
    path = fetch_pneumoniamnist(url=server.url, md5=MD5)
    assert path == (tmp_path / "cache").resolve() / "pneumoniamnist.npz"


def test_a_cache_that_cannot_be_written_to_is_refused(server, broken_cache):
    with broken_cache():
        fetch_pneumoniamnist(url=server.url, md5=MD5)


def test_other_sizes_have_other_names(server, tmp_path):
    assert fetch(server, tmp_path, size=224).name == "pneumoniamnist_224.npz"
    assert list(PNEUMONIAMNIST_MD5) == [28, 64, 128, 224]


def test_server_without_a_length(server, tmp_path):
    server.lengths = False
    assert fetch(server, tmp_path).read_bytes() == DATA


def test_cut_connection_is_resumed(server, tmp_path):
    server.cuts = [100_000, 50_000]
    assert fetch(server, tmp_path).read_bytes() == DATA
    assert server.asked == [None, 100_000, 150_000]


def test_cut_connection_without_ranges_starts_again(server, tmp_path):
    server.ranges, server.cuts = False, [100_000]
    assert fetch(server, tmp_path).read_bytes() == DATA
    assert server.asked == [None, 100_000]


def test_connection_that_keeps_breaking_leaves_a_part_for_the_next_call(server, tmp_path):
    server.cuts = [1000, 1000, 1000]
    with pytest.raises(ConnectionError, match=r"broke 3 times; 3,000 bytes are kept"):
        fetch(server, tmp_path)
    assert (tmp_path / "pneumoniamnist.npz.part").read_bytes() == DATA[:3000]
    assert not (tmp_path / "pneumoniamnist.npz").exists()
    assert fetch(server, tmp_path).read_bytes() == DATA
    assert server.asked[-1] == 3000


def test_server_that_hangs_up_without_a_word(server, tmp_path, monkeypatch):
    monkeypatch.setattr(Handler, "do_GET", lambda self: None)
    with pytest.raises(ConnectionError, match=r"broke 3 times; nothing came"):
        fetch(server, tmp_path)


def test_complete_part_only_needs_its_checksum(server, tmp_path):
    (tmp_path / "pneumoniamnist.npz.part").write_bytes(DATA)
    assert fetch(server, tmp_path).read_bytes() == DATA


@pytest.mark.parametrize("stale", [b"other", DATA + b"more"])
def test_part_of_another_file_is_thrown_away(server, tmp_path, stale):
    (tmp_path / "pneumoniamnist.npz.part").write_bytes(stale)
    assert fetch(server, tmp_path).read_bytes() == DATA
    assert server.asked == [len(stale), None]


def test_broken_file_in_the_cache_is_fetched_again(server, tmp_path):
    (tmp_path / "pneumoniamnist.npz").write_bytes(DATA[:77])
    assert fetch(server, tmp_path).read_bytes() == DATA


def test_wrong_checksum_is_deleted_and_refused(server, tmp_path):
    server.data = b"another file"
    with pytest.raises(ValueError, match=rf"MD5 checksum {MD5}.*was deleted"):
        fetch(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_published_checksum_is_the_default(server, tmp_path):
    with pytest.raises(ValueError, match=PNEUMONIAMNIST_MD5[28]):
        fetch(server, tmp_path, md5=None)


def test_404_says_how_to_go_on(server, tmp_path):
    server.error = 404
    with pytest.raises(ConnectionError, match="answered 404 Not Found") as caught:
        fetch(server, tmp_path)
    assert list(tmp_path.iterdir()) == []
    for part in (server.url, str(tmp_path / "pneumoniamnist.npz"), "CHEST_XRAYS", "by hand"):
        assert part in str(caught.value)


def test_no_network_says_how_to_go_on(server, tmp_path):
    closed = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port = closed.server_address[1]
    closed.server_close()  # nobody listens there any more
    with pytest.raises(ConnectionError, match=r"no connection .*Without a network") as caught:
        fetch_pneumoniamnist(tmp_path, url=f"http://127.0.0.1:{port}/x.npz")
    assert str(tmp_path / "pneumoniamnist.npz") in str(caught.value)


def test_unknown_size(tmp_path):
    with pytest.raises(ValueError, match=r"Expected a size among \[28, 64, 128, 224\]"):
        fetch_pneumoniamnist(tmp_path, size=32)
