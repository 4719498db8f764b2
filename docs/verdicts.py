"""Verdicts: what a page concludes is compared with what its table of results says.

The function ``say_verdicts(results)`` of a page reads nothing but the page's table. After the build
it is run again on the table that the page wrote, and has to print the same.
"""

import ast
import builtins
import contextlib
import io
import re
import textwrap
from pathlib import Path

import pandas as pd
from sphinx.util.logging import getLogger

logger = getLogger(__name__)

FUNCTION = "say_verdicts"
# In the page as sphinx-gallery writes it: the call, the end of its block, and what it printed.
PRINTED = re.compile(
    rf"^    {FUNCTION}\(results\)\n.*?^ \.\. code-block:: none\n\n(.*?)(?=^\S)",
    re.DOTALL | re.MULTILINE,
)
CALL = f"{FUNCTION}(results)"
AFTER_GALLERY = 900  # sphinx-gallery builds its pages on "builder-inited" with priority 500


def find_verdict(source):
    """Take the function out of a page, with the imports, functions and literals that it needs.

    Parameters
    ----------
    source : str
        The page's script.

    Returns
    -------
    callable
        The function; it prints.

    Raises
    ------
    ValueError
        If the page has no such function, or it reads something that the page computes.
    """
    named = {}
    for node in ast.parse(source).body:
        for name in _names_bound(node):
            named[name] = node
    if not isinstance(named.get(FUNCTION), ast.FunctionDef):
        raise ValueError(f"Expected a function {FUNCTION}(results). Received none.")
    needed, waiting = {}, [FUNCTION]
    while waiting:
        name = waiting.pop()
        if name in needed or (name not in named and hasattr(builtins, name)):
            continue
        if name not in named:
            raise ValueError(
                f"Expected {FUNCTION} to read its table alone. Received {name!r}, which the page "
                "computes. Make it a row of the results."
            )
        needed[name] = named[name]
        if isinstance(named[name], ast.FunctionDef):
            waiting += _names_read(named[name])
    nodes = sorted({id(node): node for node in needed.values()}.values(), key=lambda n: n.lineno)
    space = {}
    code = compile(ast.Module(nodes, []), FUNCTION, "exec")
    exec(code, space)  # nosec B102  # our own pages
    return space[FUNCTION]


def _names_bound(node):
    """Return the names that a statement gives to something which needs no run of the page."""
    match node:
        case ast.Import() | ast.ImportFrom():
            return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
        case ast.FunctionDef():
            return [node.name]
        case ast.Assign(targets=[target]):
            try:
                values = ast.literal_eval(node.value)
            except ValueError:
                return []
            if isinstance(target, ast.Name):
                return [target.id]
            if isinstance(target, ast.Tuple) and isinstance(values, tuple):
                return [name.id for name in target.elts if isinstance(name, ast.Name)]
    return []


def _names_read(function):
    """Return the names that a function reads and does not bind itself."""
    names = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
    bound = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    bound |= {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
    return sorted({node.id for node in names} - bound)


def say(verdict, table):
    """Return what a verdict prints of a table.

    Parameters
    ----------
    verdict : callable
        As :func:`find_verdict` returns it.
    table : pandas.DataFrame
        The results.

    Returns
    -------
    str
        The text.
    """
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        verdict(table)
    return printed.getvalue().strip()


def find_fault(source, page, path):
    """Compare a page's verdict with its table.

    Parameters
    ----------
    source : str
        The page's script.
    page : str
        The page as sphinx-gallery wrote it.
    path : pathlib.Path
        The table that it wrote.

    Returns
    -------
    str
        What is wrong; empty if nothing is, or if the page was not run.
    """
    found = PRINTED.search(page)
    if not found:
        return ""
    printed = textwrap.dedent(found[1]).strip()
    try:
        verdict = find_verdict(source)
        if not path.is_file():
            return f"Expected the results that the verdict is made from in {path.name}."
        table = pd.read_csv(path)
        said = say(verdict, table)
    except ValueError as error:
        return str(error)
    if said != printed:
        return f"Expected the verdict that {path.name} gives:\n{said}\nThe page printed:\n{printed}"
    if table["value"].nunique() > 1 and _say_reversed(verdict, table) == said:
        return "Expected a verdict that depends on the results. It says the same of other numbers."
    return ""


def _say_reversed(verdict, table):
    """Return what a verdict says of the rows with each other's numbers; None if it fails."""
    numbers = [name for name in ("value", "low", "high") if name in table]
    other = table.assign(**{name: table[name].to_numpy()[::-1] for name in numbers})
    try:
        return say(verdict, other)
    except Exception:  # numbers that cannot be: it depends on them
        return None


def check_verdicts(app):
    """Warn of verdicts that do not follow from the results, which fails a build with ``-W``."""
    gallery = Path(app.srcdir, "auto_examples")
    for page in sorted(gallery.glob("plot_*.rst")):
        script = Path(app.srcdir, "..", "examples", f"{page.stem}.py")
        table = script.parent / "results" / f"{page.stem.split('_', 2)[2]}.csv"
        if script.is_file():
            fault = find_fault(script.read_text("utf-8"), page.read_text("utf-8"), table)
            if fault:
                logger.warning("%s: %s", page.stem, fault)


def setup(app):
    """Connect the check to the build."""
    app.connect("builder-inited", check_verdicts, priority=AFTER_GALLERY)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
