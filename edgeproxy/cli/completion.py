"""`edgeproxy completion`: what makes a shell complete verbs, options and the names of trios."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from edgeproxy.cli.ui.output import write

_VARIABLE = "_EDGEPROXY_COMPLETE"

# zsh calls the whole file as a function at each Tab, and Click's script completes at the first one.
_FIRST_TIME = "[[ $zsh_eval_context[-1] == loadautofunc ]]"
_EVERY_TIME = '[[ "$funcstack[1]" == _edgeproxy ]]'


@click.command(
    "completion",
    short_help="Print what makes a shell complete verbs, options and trios.",
    epilog="""\b
Examples:
  edgeproxy completion bash > ~/.local/share/bash-completion/completions/edgeproxy
  edgeproxy completion zsh > ~/.zfunc/_edgeproxy
  edgeproxy completion fish > ~/.config/fish/completions/edgeproxy.fish
  eval "$(edgeproxy completion bash)\"""",
)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def command(shell: str) -> None:
    """Print what makes SHELL complete verbs, options and the names of trios.

    bash must be 4.4 or newer. zsh looks in the folders of its fpath, to which ~/.zfunc has to be
    added before compinit.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    made = kind(click.get_current_context().find_root().command, {}, "edgeproxy", _VARIABLE)
    # Not `made.source()`, which starts a bash to ask for its version: here may be none.
    script = made.source_template % made.source_vars()
    write(script.replace(_FIRST_TIME, _EVERY_TIME) + "\n")
