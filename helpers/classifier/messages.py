"""Messages of the command, in the language of the user's environment: English or French."""

import os

# Every text that `say` is given, in French.
FRENCH = {
    "Train a classifier on class folders of chest X-rays, or predict with one.": (
        "Entraîne un classifieur sur des dossiers de radiographies, ou prédit avec lui."
    ),
    "show this help and exit": "affiche cette aide",
    "folder of the runs: checkpoints and TensorBoard logs": (
        "dossier des entraînements : modèles et journaux de TensorBoard"
    ),
    "folder with train/ and valid/, in each sain/ and malade/ (or NORMAL/ and PNEUMONIA/)": (
        "dossier avec train/ et valid/, dans chacun sain/ et malade/ (ou NORMAL/ et PNEUMONIA/)"
    ),
    "csv of the films, usually metadata.csv": "csv des radiographies, d'habitude metadata.csv",
    "its column with a weight for each film (none)": (
        "sa colonne avec un poids par radiographie (aucune)"
    ),
    "where the csv goes with the columns split, probability and prediction; of existing files only "
    "an earlier one of this kind is replaced": (
        "où écrire le csv avec les colonnes split, probability et prediction ; de fichiers "
        "existants, seul un ancien de ce genre est remplacé"
    ),
    "True trains, and predicts with --csv_out; False predicts only (default: True without --ckpt, "
    "False with it)": (
        "True entraîne, et prédit avec --csv_out ; False prédit seulement (par défaut : True sans "
        "--ckpt, False avec)"
    ),
    "model to predict with, when nothing is trained": (
        "modèle avec lequel prédire, quand rien n'est entraîné"
    ),
    "passes through the training films (25)": (
        "nombre de passages sur les radiographies d'entraînement (25)"
    ),
    "height and width of the films, in pixels (64)": (
        "hauteur et largeur des radiographies, en pixels (64)"
    ),
    "--datadir and --csv are needed": "il faut --datadir et --csv",
    "--ckpt is for predicting only: leave it out, or add --train False": (
        "--ckpt ne sert qu'à prédire : l'omettre, ou ajouter --train False"
    ),
    "training needs --logdir": "l'entraînement demande --logdir",
    "predicting needs --ckpt and --csv_out": "la prédiction demande --ckpt et --csv_out",
    "--epochs and --image_size are for training only": (
        "--epochs et --image_size ne servent qu'à l'entraînement"
    ),
    "expected True or False, received {value!r}": "attendu : True ou False, reçu : {value!r}",
    "Interrupted. The same command goes on from the last whole epoch.": (
        "Interrompu. La même commande reprend après la dernière époque complète."
    ),
    "{n:,} films in {folder!r}.": "{n:,} radiographies dans {folder!r}.",
    "Validation films of patients who are trained on, left out: {n:,}.": (
        "Radiographies de validation de patients d'entraînement, laissées de côté : {n:,}."
    ),
    "Films without a patient number count as a patient each.": (
        "Chaque radiographie sans numéro de patient compte comme un patient."
    ),
    "epoch {n} of {of}: {values}": "époque {n} sur {of} : {values}",
    "balanced accuracy on the validation films: {score:.3f}": (
        "exactitude équilibrée sur les radiographies de validation : {score:.3f}"
    ),
    "checkpoint: {path}": "modèle : {path}",
    "{n:,} films that the model was trained on: balanced accuracy {score:.3f}": (
        "{n:,} radiographies d'entraînement du modèle : exactitude équilibrée {score:.3f}"
    ),
    "{n:,} validation films, which chose the epoch: balanced accuracy {score:.3f}": (
        "{n:,} radiographies de validation, qui ont choisi l'époque : exactitude équilibrée "
        "{score:.3f}"
    ),
    "{n:,} other films: balanced accuracy {score:.3f}": (
        "{n:,} autres radiographies : exactitude équilibrée {score:.3f}"
    ),
    "predictions: {path}": "prédictions : {path}",
    "Expected csv to name a file. Received {path!r}, which is none.": (
        "Attendu : un fichier comme csv. Reçu : {path!r}, qui n'en est pas un."
    ),
    "Expected datadir to name a folder. Received {path!r}, which is none.": (
        "Attendu : un dossier comme datadir. Reçu : {path!r}, qui n'en est pas un."
    ),
    "Expected class folders in {folder!r}, such as train/sain and train/malade. Received none.": (
        "Attendu : des dossiers de classes dans {folder!r}, comme train/sain et train/malade. "
        "Reçu : aucun."
    ),
    "Expected rows with a column 'Image Index' (or 'image') in {csv!r}. Received the columns "
    "{header} and {n:,} row(s).": (
        "Attendu : des lignes avec une colonne 'Image Index' (ou 'image') dans {csv!r}. Reçu : les "
        "colonnes {header} et {n:,} ligne(s)."
    ),
    "Expected every row of {csv!r} to name one film below {folder!r}. Fix these rows, or give the "
    "folder of the films that they name. Received:": (
        "Attendu : que chaque ligne de {csv!r} nomme une radiographie dans {folder!r}. Corriger "
        "ces lignes, ou donner le dossier de leurs radiographies. Reçu :"
    ),
    "Expected one row without faults for each film in {csv!r}. Received:": (
        "Attendu : une ligne sans faute par radiographie dans {csv!r}. Reçu :"
    ),
    "Expected films of both classes to train on and to validate with. Received among the films "
    "that the csv names (task {task!r}): {counts}.": (
        "Attendu : des radiographies des deux classes pour entraîner et pour valider. Reçu, parmi "
        "celles que nomme le csv (tâche {task!r}) : {counts}."
    ),
    "Expected one training of a run at a time. Received a second one: another process trains in "
    "{folder!r}. Wait for it, or change a setting.": (
        "Attendu : un seul entraînement à la fois. Reçu : un second, car un autre processus "
        "entraîne dans {folder!r}. L'attendre, ou changer un réglage."
    ),
    "Expected csv_out to end in .csv and to be new, or a file of earlier predictions. Received "
    "{path!r}, which is not replaced. Choose another name.": (
        "Attendu : csv_out en .csv, nouveau ou fichier de prédictions précédentes. Reçu : "
        "{path!r}, qui n'est pas remplacé. Choisir un autre nom."
    ),
    "Expected a readable film for every row. Copy these files again, or take their rows out of the "
    "csv. Nothing was written. Received:": (
        "Attendu : une radiographie lisible par ligne. Copier à nouveau ces fichiers, ou enlever "
        "leurs lignes du csv. Rien n'a été écrit. Reçu :"
    ),
    "Give the path that train_classifier returned.": (
        "Donner le chemin que train_classifier a renvoyé."
    ),
    "Expected a checkpoint. Received {path!r}, which is none.": (
        "Attendu : un modèle. Reçu : {path!r}, qui n'en est pas un."
    ),
    "Expected a checkpoint with image size, threshold and class names. Received {path!r} "
    "({error}).": (
        "Attendu : un modèle avec taille d'image, seuil et noms des classes. Reçu : {path!r} "
        "({error})."
    ),
    "Expected {keys} in the checkpoint {path!r}. Received no {missing}.": (
        "Attendu : {keys} dans le modèle {path!r}. Reçu : rien pour {missing}."
    ),
    "Expected finite weights in the model {path!r}. Received NaN or infinity in {n} of {of} "
    "tensors, first {name}: the training diverged. Train again with a smaller learning rate.": (
        "Attendu : des poids finis dans le modèle {path!r}. Reçu : NaN ou infini dans {n} des {of} "
        "tenseurs, d'abord {name} : l'entraînement a divergé. Réentraîner avec un plus petit taux "
        "d'apprentissage."
    ),
}


def say(text: str, /, **values: object) -> str:
    """Translate a message if the environment asks for French, and insert its values.

    The first of ``LC_ALL``, ``LC_MESSAGES`` and ``LANG`` that is not empty decides. The lines of
    the reader's report are in English.

    Parameters
    ----------
    text : str
        The message in English; a key of :data:`FRENCH`.
    **values : object
        What is inserted at ``{name}``.

    Returns
    -------
    str
        The message.
    """
    languages = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    is_french = next(filter(None, languages), "").startswith("fr")
    return (FRENCH.get(text, text) if is_french else text).format(**values)
