"""Command line of the service: ``python -m helpers.serve FOLDER``."""

from dataclasses import fields

try:
    import click
    import uvicorn

    from helpers.serve import Limits, make_app
except ModuleNotFoundError as error:
    raise SystemExit(
        f'{error}. Install it: pip install "federated-chest-xrays[service]"'
    ) from error


@click.command(help="Serve the model in FOLDER, which helpers.export has written.")
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address; this machine only.")
@click.option("--port", default=8000, show_default=True, help="Port; 0 takes a free one.")
@click.option("--fingerprint", help="What helpers.export printed; another folder is refused.")
def main(folder, host, port, fingerprint, **limits):
    """Start the service; Ctrl-C ends it."""
    try:
        app = make_app(folder, Limits(**limits), fingerprint=fingerprint)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    uvicorn.run(app, host=host, port=port, access_log=False, timeout_graceful_shutdown=5)


for limit in fields(Limits):
    main = click.option(
        f"--{limit.name.replace('_', '-')}",
        default=limit.default,
        show_default=True,
        help="Limit, as in helpers.serve.Limits.",
    )(main)

if __name__ == "__main__":
    main(prog_name="python -m helpers.serve")
