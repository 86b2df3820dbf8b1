"""`plora resume`: go on with a run that was cut."""

from plora.cli.arguments import RunArgument
from plora.cli.saying import say


def command(run: RunArgument) -> None:
    """Go on with a run from where it was cut; it ends with the same bits as if nothing had happened."""
    from plora.runs import resume

    say(str(resume(run)))
