"""The check of the built site: it finds each fault by its name, and passes a page without any."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHECK = Path(__file__).parents[2] / "docs" / "site_check"
PAGE = """<!DOCTYPE html>
<html lang="en"><head><title>Page</title><meta name="viewport" content="width=device-width"></head>
<body><main><h1 id="top">Page</h1>{}</main></body></html>"""
DOT = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><circle r="4"/></svg>'
GOOD = '<p>Text, and <a href="index.html#top">a link</a>.</p><img src="dot.svg" alt="A circle">'
# What is found -> what is on the page.
BAD = {
    "color-contrast (serious)": '<p style="color: #bbb">Pale.</p>',
    "image-alt (critical)": '<img src="dot.svg">',
    "image without text": '<img src="dot.svg" alt="">',
    "image with a file's name as text": '<img src="dot.svg" alt="dot.svg">',
    "image cannot be shown": '<img src="none.svg" alt="Nothing">',
    "link": '<a href="nowhere.html">a link</a> <a href="#nowhere">a second</a>',
    "page wider than its window": '<div style="width: 500px">Wide on a phone.</div>',
    "console": "<script>console.error('A fault.')</script>",
    "other host": '<img src="http://127.0.0.1:9/dot.svg" alt="From elsewhere">',
}


def _check(folder, *options):
    for name in ("node", "npm"):
        if not shutil.which(name):
            pytest.skip(f"Needs {name}.")
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        pytest.skip("Needs Chromium.")
    if not (CHECK / "node_modules").is_dir():
        pytest.skip("Needs the packages that 'make check-site' installs.")
    command = ["node", CHECK / "check.mjs", "--html", folder, *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _write(folder, **pages):
    (folder / "dot.svg").write_text(DOT, "utf-8")
    for name, body in pages.items():
        (folder / f"{name}.html").write_text(PAGE.format(body), "utf-8")


def test_every_fault_is_found_by_its_name_and_a_good_page_has_none(tmp_path):
    _write(tmp_path, index=GOOD, bad="".join(BAD.values()))
    ended = _check(tmp_path)
    assert ended.returncode == 1, ended.stderr
    found = re.findall(r"^(\S.*): \d+ on 1 page$", ended.stdout, re.MULTILINE)
    assert set(BAD) <= set(found)
    assert "no such file: nowhere.html" in ended.stdout
    assert "no such anchor: bad.html#nowhere" in ended.stdout
    assert "(phone, dark; phone, light)" in ended.stdout  # fits into a desktop's window
    assert not re.search(r"^  index\.html", ended.stdout, re.MULTILINE)


def test_a_good_site_passes_and_is_pictured(tmp_path):
    _write(tmp_path, index=GOOD)
    ended = _check(tmp_path, "--screenshots", tmp_path / "seen")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 page, each in 4 ways" in ended.stdout
    assert len(list((tmp_path / "seen").glob("*.png"))) == 4


def test_reference_pages_which_are_alike_are_seen_in_both_widths_and_themes(tmp_path):
    _write(tmp_path, index=GOOD)
    (tmp_path / "generated").mkdir()
    (tmp_path / "generated" / "name.html").write_text(
        PAGE.format(BAD["page wider than its window"] + BAD["color-contrast (serious)"]), "utf-8"
    )
    ended = _check(tmp_path, "--screenshots", tmp_path / "seen")
    assert "2 pages, 1 in 4 ways and 1 in 2, " in ended.stdout
    assert re.search(r"(?m)^  generated/name\.html \(desktop, light; phone, dark\)$", ended.stdout)
    assert re.search(r"(?m)^  generated/name\.html \(phone, dark\)$", ended.stdout)
    assert len(list((tmp_path / "seen").glob("*.png"))) == 6


def test_a_site_that_is_not_built_is_no_fault_of_it(tmp_path):
    ended = _check(tmp_path)
    assert ended.returncode == 2
    assert "Run 'make html' first." in ended.stderr


def test_the_lock_names_exact_versions_and_no_local_registry():
    lock = (CHECK / "package-lock.json").read_text("utf-8")
    places = re.findall(r'"resolved": "([^"]+)"', lock)
    assert [place for place in places if not place.startswith("https://registry.npmjs.org/")] == []
    assert lock.count('"integrity": "sha512-') == len(re.findall('"node_modules/', lock))
    pins = re.findall(r'"(?:axe|playwright)-core": "(.+)"', (CHECK / "package.json").read_text())
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", pin) for pin in pins)
