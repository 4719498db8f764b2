import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from helpers.data.images import ArrayFilms, decode_image, read_image, resize_image

# Four grey levels in a film that is not square, so that a turned one is noticed.
GREY = np.array([[0, 50, 100], [150, 200, 255]], dtype=np.uint8)


def save(folder, image, name="film.png", **options):
    image.save(folder / name, **options)
    return folder


def assert_read(folder, expected, repairs, name="film.png", atol=0):
    array, made = decode_image(folder / name)
    assert array.dtype == np.uint8
    assert array.shape == np.shape(expected)
    np.testing.assert_allclose(array.astype(int), expected, atol=atol)
    assert made == repairs
    np.testing.assert_array_equal(read_image(folder, name), array)


@pytest.mark.parametrize("name", ["film.png", "film.bmp", "film.tif", "FILM.PNG"])
def test_8_bit_grey_is_kept(tmp_path, name):
    assert_read(save(tmp_path, Image.fromarray(GREY), name), GREY, [], name)


def test_rgb_grey_levels_are_kept(tmp_path):
    save(tmp_path, Image.fromarray(np.stack([GREY] * 3, axis=-1)))
    assert_read(tmp_path, GREY, ["color image turned to greyscale"])


def test_colors_become_rec_601_luma(tmp_path):
    color = np.zeros((1, 3, 3), dtype=np.uint8)
    color[0, [0, 1, 2], [0, 1, 2]] = 255  # red, green, blue
    save(tmp_path, Image.fromarray(color))
    assert_read(tmp_path, [[76, 150, 29]], ["color image turned to greyscale"])  # .299, .587, .114


def test_rgba_is_laid_over_black(tmp_path):
    alpha = np.array([[255, 255, 255], [0, 255, 51]], dtype=np.uint8)
    save(tmp_path, Image.fromarray(np.dstack([GREY] * 3 + [alpha])))
    expected = [[0, 50, 100], [0, 200, 51]]
    assert_read(tmp_path, expected, ["image with transparency turned to greyscale"])


def test_grey_with_alpha_is_laid_over_black(tmp_path):
    alpha = np.array([[255, 0, 255], [255, 255, 255]], dtype=np.uint8)
    save(tmp_path, Image.fromarray(np.dstack([GREY, alpha])))
    expected = [[0, 0, 100], [150, 200, 255]]
    assert_read(tmp_path, expected, ["image with transparency turned to greyscale"])


def palette_image(levels):
    image = Image.fromarray(np.array([[0, 1, 2], [3, 1, 0]], dtype=np.uint8)).convert("P")
    image.putdata([0, 1, 2, 3, 1, 0])
    image.putpalette([value for level in levels for value in (level,) * 3])
    return image


def test_palette_indices_become_their_grey_levels(tmp_path):
    save(tmp_path, palette_image([10, 200, 30, 250]))
    expected = [[10, 200, 30], [250, 200, 10]]
    assert_read(tmp_path, expected, ["palette image turned to greyscale"])


def test_transparent_palette_is_laid_over_black(tmp_path):
    save(tmp_path, palette_image([10, 200, 30, 250]), transparency=bytes([255, 0, 255, 255]))
    expected = [[10, 0, 30], [250, 0, 10]]
    assert_read(tmp_path, expected, ["palette image turned to greyscale"])


def test_cmyk_becomes_grey(tmp_path):
    image = Image.fromarray(np.full((16, 16), 120, dtype=np.uint8)).convert("CMYK")
    save(tmp_path, image, "film.jpg", quality=100)
    expected = np.full((16, 16), 120)
    assert_read(tmp_path, expected, ["CMYK image turned to greyscale"], "film.jpg", atol=2)


def test_1_bit_becomes_black_and_white(tmp_path):
    save(tmp_path, Image.fromarray(GREY >= 150))
    assert_read(tmp_path, [[0, 0, 0], [255, 255, 255]], ["1-bit image turned to greyscale"])


@pytest.mark.parametrize("name", ["film.png", "film.tif"])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0, 257, 32896, 65535]], [[0, 1, 128, 255]]),  # v / 257
        ([[0, 1285, 2570, 4112]], [[0, 5, 10, 16]]),  # a dark film of 16 bits stays dark
        ([[0, 819, 1638, 4095]], [[0, 51, 102, 255]]),  # 12 bits: v * 255 / 4095
        ([[0, 7, 99, 255]], [[0, 7, 99, 255]]),  # 8 bits in a 16-bit file
    ],
)
def test_16_bit_is_scaled_by_its_full_range(tmp_path, name, values, expected):
    save(tmp_path, Image.fromarray(np.array(values, dtype=np.uint16)), name)
    assert_read(tmp_path, expected, ["16-bit image scaled to 8 bits"], name)


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [(3, GREY[::-1, ::-1]), (6, np.rot90(GREY, -1)), (8, np.rot90(GREY, 1)), (2, GREY[:, ::-1])],
)
def test_exif_rotation_is_applied(tmp_path, orientation, expected):
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(tmp_path, Image.fromarray(GREY), exif=exif)
    assert_read(tmp_path, expected, ["EXIF rotation applied"])


def test_exif_that_says_upright_is_no_repair(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 1
    save(tmp_path, Image.fromarray(GREY), exif=exif)
    assert_read(tmp_path, GREY, [])


def test_the_first_of_several_pictures_is_taken_and_said(tmp_path):
    others = [Image.fromarray(255 - GREY)]
    save(tmp_path, Image.fromarray(GREY), "film.tif", save_all=True, append_images=others)
    assert_read(tmp_path, GREY, ["first of several pictures in a file taken"], "film.tif")


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_truncated_file_is_refused_with_its_name(tmp_path, rng, ending):
    name = f"film.{ending}"
    noise = rng.integers(0, 256, (64, 64), dtype=np.uint8)
    save(tmp_path, Image.fromarray(noise), name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=rf"Expected a readable image. Received '{name}'"):
        read_image(tmp_path, name)


@pytest.mark.parametrize("data", [b"", b"not an image"])
def test_a_file_that_is_no_image_is_refused(tmp_path, data):
    (tmp_path / "film.png").write_bytes(data)
    with pytest.raises(ValueError, match=r"Received 'film.png'"):
        read_image(tmp_path, "film.png")


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Received 'film.png'.*No such file"):
        read_image(tmp_path, "film.png")


def test_floating_point_pixels_are_refused(tmp_path):
    save(tmp_path, Image.fromarray(GREY.astype(np.float32)), "film.tif")
    with pytest.raises(ValueError, match="floating-point pixels"):
        read_image(tmp_path, "film.tif")


def test_32_bit_values_beyond_16_bits_are_refused(tmp_path):
    save(tmp_path, Image.fromarray(np.array([[0, 70000]], dtype=np.int32)), "film.tif")
    with pytest.raises(ValueError, match="pixels between 0 and 70000"):
        read_image(tmp_path, "film.tif")


def test_resize_keeps_a_constant_and_averages_when_it_shrinks():
    assert np.all(resize_image(np.full((300, 200), 77, dtype=np.uint8), 64) == 77)
    checkers = np.indices((64, 64)).sum(axis=0) % 2 * 200
    small = resize_image(checkers.astype(np.uint8), 8)
    np.testing.assert_allclose(small, 100, atol=2)  # antialiased: no stripes


def test_resize_stretches_the_whole_film():
    film = np.zeros((40, 80), dtype=np.uint8)
    film[:, 40:] = 200
    small = resize_image(film, 10)
    assert small.shape == (10, 10)
    assert np.all(small[:, :4] == 0)
    assert np.all(small[:, 6:] == 200)


def test_resize_to_its_own_size_is_a_copy():
    film = np.arange(16, dtype=np.uint8).reshape(4, 4)
    same = resize_image(film, 4)
    np.testing.assert_array_equal(same, film)
    assert not np.shares_memory(same, film)


@pytest.mark.parametrize("array", [np.zeros((2, 2)), np.zeros((2, 2, 1), np.uint8), np.zeros(0)])
def test_resize_refuses_other_arrays(array):
    with pytest.raises(ValueError, match="Expected a film as uint8"):
        resize_image(array, 4)


def test_resize_refuses_a_size_of_zero():
    with pytest.raises(ValueError, match="at least 1 pixel"):
        resize_image(GREY, 0)


@pytest.fixture
def arrays(tmp_path, rng):
    films = rng.integers(0, 256, (20, 5, 4), dtype=np.uint8)
    np.savez_compressed(
        tmp_path / "films.npz", train_images=films, test_images=np.stack([films] * 3, axis=-1)
    )
    return tmp_path / "films.npz", films


def test_arrays_are_read_by_split_and_index(arrays):
    path, films = arrays
    np.testing.assert_array_equal(read_image(path, "train/17"), films[17])


def test_rgb_arrays_become_grey(arrays):
    path, films = arrays
    np.testing.assert_array_equal(read_image(path, "test/3"), films[3])


def test_array_films_are_shared_by_threads_and_pickled_without_arrays(arrays):
    path, films = arrays
    source = ArrayFilms(path)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(source.read, [f"train/{index}" for index in range(20)]))
    np.testing.assert_array_equal(read, films)
    copy = pickle.dumps(source)
    assert len(copy) < 1000
    np.testing.assert_array_equal(pickle.loads(copy).read("train/0"), films[0])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("train/20", "Expected an index below 20"),
        ("train/-1", "Expected a film such as 'train/17'"),
        ("train", "Expected a film such as 'train/17'"),
        ("val/0", "Expected an array val_images"),
    ],
)
def test_films_that_an_npz_does_not_hold(arrays, image, message):
    with pytest.raises(ValueError, match=message):
        read_image(arrays[0], image)
