"""`numbering completion`: what lets a shell complete commands and their options."""

import click
from click.shell_completion import get_completion_class

from numbering.cli.output import say_line

__all__ = ["completion"]


@click.command(
    epilog="""\b
Install it with one line in the shell's own file:
  bash  ~/.bashrc                                    eval "$(numbering completion bash)"
  zsh   ~/.zshrc                                     eval "$(numbering completion zsh)"
  fish  ~/.config/fish/completions/numbering.fish    numbering completion fish | source"""
)
@click.pass_context
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script by which a shell completes."""
    found = get_completion_class(shell)
    assert found is not None
    say_line(found(ctx.find_root().command, {}, "numbering", "_NUMBERING_COMPLETE").source())
