"""Detection: which layout a path holds, among all that can be read."""

from pathlib import Path

from helpers.data.class_folders import read_class_folders
from helpers.data.layouts import Layout, class_folders, entry_csvs, list_folder, split_folders
from helpers.data.medmnist import read_medmnist
from helpers.data.metadata import FINDING_SPELLINGS, SPLIT_SPELLINGS, suggest
from helpers.data.nih import read_nih
from helpers.data.public_tables import TABLES
from helpers.data.tables import find_csvs, read_header

# The first one that a path has is used.
LAYOUTS = (
    Layout(
        "nih",
        "NIH ChestX-ray14 layout",
        "NIH ChestX-ray14: Data_Entry_2017.csv (or Data_Entry_2017_v2020.csv) beside images/*.png "
        "or images_001/images/*.png … images_012/images/*.png, with train_val_list.txt and "
        "test_list.txt when they are there",
        lambda source: source.is_dir() and entry_csvs(source),
        lambda source, report, check_images: read_nih(source, report),
    ),
    Layout(
        "class folders",
        "Class folders",
        "class folders: train, valid (or val, validation) and test, each with sain and malade, or "
        "NORMAL and PNEUMONIA, or classes of other usual names, with or without a metadata.csv "
        "beside them; or the classes alone, without splits",
        lambda source: (
            source.is_dir()
            and any(class_folders(source / folder) for folder, _ in split_folders(source))
        ),
        lambda source, report, check_images: read_class_folders(source, report),
    ),
    Layout(
        "medmnist",
        "MedMNIST arrays",
        "a MedMNIST file: pneumoniamnist.npz or chestmnist.npz, of any size (name the file itself)",
        lambda source: source.is_file() and source.suffix.lower() == ".npz",
        read_medmnist,
    ),
    *TABLES,
)


def find_layout(source: Path) -> Layout:
    """Return the layout that a path holds.

    Parameters
    ----------
    source : pathlib.Path
        An existing folder or file.

    Returns
    -------
    helpers.data.layouts.Layout
        One of :data:`LAYOUTS`.

    Raises
    ------
    ValueError
        If the path has none of them; the message lists the layouts and what was found.
    """
    if layout := _detect(source):
        return layout
    supported = ";\n".join(f"- {layout.contents}" for layout in LAYOUTS)
    raise ValueError(
        f"Expected radiographs in one of these layouts:\n{supported};\n"
        "- a folder with one folder for each hospital, each in any of these layouts.\n"
        f"Received {_describe(source)}\n"
        "Name the folder that holds the csv or the split folders itself, not one above or below."
    )


def find_hospitals(source: Path) -> tuple[list[str], list[str]]:
    """Return which sub-folders of a path hold a hospital each.

    Parameters
    ----------
    source : pathlib.Path
        An existing folder or file.

    Returns
    -------
    hospitals, others : list of str
        Names of the sub-folders with and without a layout; both empty if the path has a layout of
        its own, or fewer than two sub-folders have one.
    """
    if source.is_file() or _detect(source):
        return [], []
    folders = list_folder(source)[0]
    hospitals = [name for name in folders if _detect(source / name)]
    if len(hospitals) < 2:
        return [], []
    return hospitals, [name for name in folders if name not in hospitals]


def _detect(source: Path) -> Layout | None:
    return next((layout for layout in LAYOUTS if layout.detect(source)), None)


def _describe(source: Path) -> str:
    if source.is_file():
        return f"the file {source.name!r}."
    folders, files = list_folder(source)
    shown = [f"{name}/" for name in folders[:4]] + files[:4]
    more = ", …" if len(folders) + len(files) > len(shown) else ""
    parts = [folder for folder, _ in split_folders(source)]
    known = FINDING_SPELLINGS if parts else SPLIT_SPELLINGS | FINDING_SPELLINGS
    names = [name for part in parts or [""] for name in list_folder(source / part)[0]]
    near = [text for text in (suggest(name, known) for name in names) if text.endswith("?)")]
    hints = [f" Look at {', '.join(near)}."] if near else []
    hints += [
        f" Its folder {name!r} holds {layout.title}; name that one."
        for name in folders
        if (layout := _detect(source / name))
    ]
    hints += [
        f" {name!r} has the columns {header}: if it is a table of films, say what they mean with "
        f"read_table({str(source / name)!r}, columns={{'image': …}}, findings=…)."
        for name in find_csvs(source, r".*\.csv(\.gz)?")
        if (header := read_header(source / name))
    ]
    return (
        f"{source.name!r} with {len(folders):,} folders and {len(files):,} files: "
        f"{', '.join(shown) or 'it is empty'}{more}.{''.join(hints)}"
    )
