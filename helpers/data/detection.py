"""Detection: which layout a path holds, among all that can be read."""

from pathlib import Path

from helpers.data.class_folders import read_class_folders
from helpers.data.layouts import Layout, class_folders, entry_csvs, list_folder, split_folders
from helpers.data.medmnist import read_medmnist
from helpers.data.nih import read_nih

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
        "class folders: train, valid (or val) and test, each with sain and malade, or NORMAL and "
        "PNEUMONIA, with or without a metadata.csv beside them",
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
    for layout in LAYOUTS:
        if layout.detect(source):
            return layout
    supported = ";\n".join(f"- {layout.contents}" for layout in LAYOUTS)
    raise ValueError(
        f"Expected radiographs in one of these layouts:\n{supported}.\n"
        f"Received {_describe(source)}\n"
        "Name the folder that holds the csv or the split folders itself, not one above or below."
    )


def _describe(source: Path) -> str:
    if source.is_file():
        return f"the file {source.name!r}."
    folders, files = list_folder(source)
    shown = [f"{name}/" for name in folders[:4]] + files[:4]
    more = ", …" if len(folders) + len(files) > len(shown) else ""
    return (
        f"{source.name!r} with {len(folders):,} folders and {len(files):,} files: "
        f"{', '.join(shown) or 'it is empty'}{more}."
    )
