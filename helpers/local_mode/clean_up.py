"""Clean-up: the files that Substra's local mode leaves on the disk."""

import shutil

import substra

from helpers.local_mode.substra_internals import LocalClient

# Folders of local-worker that belong to no client but to all of them; SubstraFL's summaries of
# experiments are put there by the pages.
_OF_ALL = {"outputs", "live_performances", "experiments"}


def remove_local_files(*clients: substra.Client) -> None:
    """Remove the files of clients in local mode; they cannot be used afterwards.

    Substra keeps the assets of a local client in a temporary folder below ``local-worker``, in the
    folder where the client was created. The temporary folder is removed when Python ends, but
    ``local-worker`` with the outputs of all tasks remains. Here it is removed with the last client
    that uses it.

    Parameters
    ----------
    *clients : substra.Client
        All clients of a federation.
    """
    folders = set()
    for client in map(LocalClient, clients):
        client.remove_files()
        folders.add(client.folder)
    for folder in folders:
        if folder.is_dir() and {path.name for path in folder.iterdir()} <= _OF_ALL:
            shutil.rmtree(folder)
