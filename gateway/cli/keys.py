"""`p2pmail keys`: this machine's private keys, and the passphrase that they are under."""

import typer

from gateway.cli.options import DEFAULT_CONFIG, ConfigFile
from gateway.site import Site


def register(app: typer.Typer) -> None:
    keys = typer.Typer(help="This machine's private keys at rest.", no_args_is_help=True)
    app.add_typer(keys, name="keys")

    @keys.callback()
    def group() -> None:
        """This machine's private keys at rest."""

    @keys.command("unseal")
    def unseal(config: ConfigFile = DEFAULT_CONFIG) -> None:
        """Take every key here from under its passphrase, to change or drop that; only while p2pmail is stopped."""
        site = Site.open(config)
        with site.locked():
            files = site.unseal_keys()
        print(f"{len(files)} files of keys lie open. Now change keys.passphrase: the next start puts them under it.")
