"""Loaders: texts, contrast pairs and images from the files that people have. Every byte comes through `microtome.io`."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from microtome import io
from microtome.errors import Degenerate, FormatError, MissingExtra, UsageError, nearest
from microtome.stimuli.stimuli import Stimuli
from microtome.stimuli.task import Task

if TYPE_CHECKING:
    import pandas as pd

TABLES = (".jsonl", ".parquet", ".csv", ".tsv")


def texts(path: str | os.PathLike, *, column: str = "text", split: str = "train", limit: int | None = None) -> Stimuli:
    """Texts from a .txt, .jsonl, .parquet, .csv or .tsv file, or from a folder saved with ``Dataset.save_to_disk``.

    Parameters
    ----------
    path : str or PathLike
        In a .txt file each paragraph (lines up to a blank one) is a sample.
    column : str
        Column that holds the text; the others become the table. A column "document" groups samples.
    split : str
        Split of a dataset folder that has several.
    limit : int, optional
        Keep the first `limit` samples.

    Returns
    -------
    Stimuli
        Texts without the empty ones.

    Raises
    ------
    UsageError
        No such file, column or split, or an unknown ending.
    FormatError
        The file is damaged, or the column holds something other than text.
    Degenerate
        No text in it.
    MissingExtra
        A dataset folder needs the package `datasets`.
    """
    path = Path(path)
    if limit is not None and limit < 1:
        raise UsageError(f"limit must be at least 1 or None, got {limit}.")
    if path.is_dir():
        table = _dataset(path, split)
    elif path.suffix.lower() in TABLES:
        table = io.read_table(path)
    elif path.suffix.lower() == ".txt":
        table = _paragraphs(io.read_text(path))
        column = "text"
    else:
        raise UsageError(f"cannot tell the format of '{path}': give a dataset folder or a .txt, {', '.join(TABLES)} file.")
    _need(table, (column,), path)
    table = table[table[column].notna()].reset_index(drop=True)
    if not all(isinstance(text, str) for text in table[column]):
        raise FormatError(f"column {column!r} of '{path}' holds {table[column].dtype}, not text. Name another column.")
    table = table[table[column].str.strip() != ""][: limit or len(table)].reset_index(drop=True)
    if not len(table):
        raise Degenerate(f"'{path}' holds no text in column {column!r}.")
    return Stimuli(table[column].tolist(), table.drop(columns=[column]), name=path.stem)


def pairs(
    path: str | os.PathLike,
    *,
    clean: str = "clean",
    corrupt: str = "corrupt",
    answer: str = "answer",
    wrong: str = "wrong",
    name: str | None = None,
) -> Task:
    """A task from contrast pairs in a .jsonl, .json (one object per line), .csv, .tsv or .parquet file.

    Parameters
    ----------
    path : str or PathLike
    clean, corrupt : str
        Columns with the prompts and their counterfactuals.
    answer, wrong : str
        Columns with the tokens that should and should not follow, leading space included where the tokenizer has one.
    name : str, optional
        Name of the task; default the name of the file.

    Raises
    ------
    UsageError
        No such file or column.
    FormatError
        The file is damaged.
    Degenerate
        No pairs, or an answer that equals its wrong answer.
    """
    path = Path(path)
    columns = (clean, corrupt, answer, wrong)
    table = _objects(path) if path.suffix.lower() == ".json" else io.read_table(path)
    _need(table, columns, path)
    if not len(table):
        raise Degenerate(f"'{path}' holds no pairs.")
    fields = []
    for column in columns:
        if table[column].isna().any():
            row = int(np.flatnonzero(table[column].isna())[0])
            raise FormatError(f"'{path}' has no {column!r} in row {row}. Fill it in or drop the row.")
        fields.append([str(value) for value in table[column]])
    return Task(name or path.stem, *fields)


def agreement(path: str | os.PathLike) -> Task:
    """Subject-verb agreement pairs with the fields clean_prefix, patch_prefix, clean_answer and patch_answer.

    References
    ----------
    Marks et al. (2024). Sparse feature circuits. https://arxiv.org/abs/2403.19647
    """
    return pairs(path, clean="clean_prefix", corrupt="patch_prefix", answer="clean_answer", wrong="patch_answer")


def greater_than(path: str | os.PathLike) -> Task:
    """Years that must be greater: a table with the columns clean, corrupted and label (the last two digits of the year).

    Any two digits above the label are right. The task holds one right and one wrong answer per prompt: the middle of the
    years above the label, and the middle of those up to it.

    References
    ----------
    Hanna, Liu, Variengien (2023). How does GPT-2 compute greater-than? https://arxiv.org/abs/2305.00586
    """
    table = io.read_table(path)
    _need(table, ("clean", "corrupted", "label"), Path(path))
    label = table["label"].to_numpy()
    if label.dtype.kind not in "iu" or ((label < 0) | (label > 98)).any():
        raise FormatError(f"column 'label' of '{path}' must hold years from 0 to 98.")
    return Task(
        "greater_than",
        table["clean"].tolist(),
        table["corrupted"].tolist(),
        [f"{(year + 100) // 2:02d}" for year in label],
        [f"{year // 2:02d}" for year in label],
        notes="Any two digits above the label are right; answer and wrong are the middles of both ranges.",
    )


def images(path: str | os.PathLike) -> Stimuli:
    """Images from a .npz file with `images` [n, y, x] or [n, y, x, channel], `labels` [n] and, if named, `classes`.

    `masks` [n, y, x] say where in each image the evidence for its label lies; they become the mask "signal".

    Returns
    -------
    Stimuli
        Images [n, channel, y, x], float32 in [0, 1] when they were bytes; table columns label and, with names, class.

    Raises
    ------
    FormatError
        The file is damaged or lacks `images`.
    """
    import pandas as pd
    import torch

    arrays = io.read_npz(path)
    if "images" not in arrays or arrays["images"].ndim not in (3, 4):
        found = {name: array.shape for name, array in arrays.items()}
        raise FormatError(f"'{path}' needs an array 'images' [n, y, x] or [n, y, x, channel], found {found}.")
    pixels = arrays["images"]
    pixels = pixels[:, None] if pixels.ndim == 3 else np.moveaxis(pixels, 3, 1)
    scale = 255.0 if pixels.dtype == np.uint8 else 1.0
    table = pd.DataFrame(index=range(len(pixels)))
    if "labels" in arrays:
        if arrays["labels"].shape != (len(pixels),):
            raise FormatError(f"'{path}' has {len(pixels)} images but labels of shape {arrays['labels'].shape}.")
        table["label"] = arrays["labels"]
        if "classes" in arrays:
            table["class"] = [str(arrays["classes"][i]) for i in arrays["labels"]]
    inputs = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32) / scale)
    masks = {"signal": torch.from_numpy(arrays["masks"].astype(bool))} if "masks" in arrays else {}
    return Stimuli(inputs, table, masks=masks, kind="image", name=Path(path).stem)


def _paragraphs(text: str) -> "pd.DataFrame":
    import pandas as pd

    found, lines = [], []
    for line in [*text.splitlines(), ""]:
        if line.strip():
            lines.append(line)
        elif lines:
            found.append("\n".join(lines))
            lines = []
    return pd.DataFrame({"text": pd.Series(found, dtype=object)})


def _objects(path: Path) -> "pd.DataFrame":
    import pandas as pd

    rows: Iterable[Any] = io.read_jsonl(path)
    if not all(isinstance(row, dict) for row in rows):
        raise FormatError(f"'{path}' needs one JSON object per line.")
    return pd.DataFrame.from_records(list(rows))


def _dataset(path: Path, split: str) -> "pd.DataFrame":
    try:
        import datasets
    except ImportError:
        raise MissingExtra.of("datasets", "data") from None
    try:
        loaded = datasets.load_from_disk(str(path))
    except Exception as error:  # arrow and datasets raise many types on a damaged folder
        raise FormatError(f"'{path}' is not a saved dataset: {str(error)[:200]}") from None
    if isinstance(loaded, datasets.DatasetDict):
        if split not in loaded:
            raise UsageError(f"'{path}' has no split {split!r}; splits: {list(loaded)}.{nearest(split, loaded)}")
        loaded = loaded[split]
    return loaded.to_pandas()


def _need(table: "pd.DataFrame", columns: tuple[str, ...], path: Path) -> None:
    known = [str(column) for column in table.columns]
    for column in columns:
        if column not in known:
            raise UsageError(f"'{path}' has no column {column!r}; columns: {known}.{nearest(column, known)}")
